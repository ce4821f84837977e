"""Measured cells, kept: one SQLite file, and each cell's image scores beside it. One writes, any number read.

Every measurement of a cell is one row, with what it rests on; nothing is ever changed in place. Scores are written
first, under the hash of their contents, and a row only after them, in one transaction: whenever the writer dies, what
the store says it has, it has.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock, Timeout

from pclib._checks import some
from pclib._files import make_folder, replacing, sha256_arrays
from pclib.cells import METRICS, Cell, Measured
from pclib.profile import store_folder

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
FILE, SCORES, LOCK = "results.sqlite", "scores", "writing.lock"
PATIENCE = 5.0  # seconds to wait for another program that holds the file
NUMBERS = [f"{metric}{end}" for metric in METRICS.values() for end in ("", "_low", "_high")]
COUNTS = ["n_train", "n_good", "n_anomalous", "n_regions"]
RESULT = [*NUMBERS, *COUNTS, "scores"]  # what two measurements of one cell must agree in
JSON = ["parameters", "timing", "provenance"]
COLUMNS = [
    *("cell", "run", "configuration", "method", "parameters", "data", "category", "seed"),
    *RESULT,
    *("timing", "memory", "provenance", "measured_at", "origin"),
]
TABLES = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE results (
  cell TEXT NOT NULL, run INTEGER NOT NULL, configuration TEXT NOT NULL, method TEXT NOT NULL,
  parameters TEXT NOT NULL, data TEXT NOT NULL, category TEXT NOT NULL, seed INTEGER NOT NULL,
  {", ".join(f"{name} REAL" for name in NUMBERS)}, {", ".join(f"{name} INTEGER" for name in COUNTS)},
  scores TEXT NOT NULL, timing TEXT NOT NULL, memory INTEGER NOT NULL, provenance TEXT NOT NULL,
  measured_at TEXT NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (cell, run)
);
CREATE TABLE failures (cell TEXT PRIMARY KEY, what TEXT NOT NULL, error TEXT NOT NULL, failed_at TEXT NOT NULL);
CREATE TABLE costs (what TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
# From a schema to the next: SQL run on a file of the older one, after a backup of it.
MIGRATIONS: dict[int, str] = {}


class Store:
    """The store in `folder`: by default $PCLIB_STORE, or a folder among the user's data. Made if it is not there.

    Reading needs no lock. `writing` is entered by whoever adds to it; a second one is refused.
    Raises ValueError for a folder that cannot be made, for a file that is damaged, not a store, or from a newer version
    of pclib, and for an older one that cannot be migrated. Before a migration the file is copied beside itself.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = store_folder() if folder is None else Path(folder)
        self.file = self.folder / FILE
        if not self.file.is_file():
            make_folder(self.folder)
            self._create()
        self._check()

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}: {len(self)} measurements)"

    def __len__(self) -> int:
        return self._query("SELECT count(*) FROM results")[0][0]

    @property
    def identity(self) -> str:
        """What tells this store from others, wherever it is copied."""
        return self._query("SELECT value FROM about WHERE name = 'identity'")[0][0]

    @contextmanager
    def writing(self) -> Iterator[Self]:
        """Be the one who writes. Raises ValueError if another is, or if the folder cannot be written to."""
        make_folder(self.folder)
        make_folder(self.folder / SCORES)
        lock = FileLock(self.folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ValueError(
                f"{self.folder}: another sweep is writing to this store; wait for it, stop it, or use a store of its "
                "own: PCLIB_STORE, or Store(folder)"
            ) from error
        try:
            yield self
        finally:
            lock.release()

    def runs(self) -> dict[str, int]:
        """How often each cell was measured, by key."""
        return dict(self._query("SELECT cell, max(run) FROM results GROUP BY cell"))

    def failures(self) -> dict[str, str]:
        """Why cells failed when they were last tried, by key."""
        return dict(self._query("SELECT cell, error FROM failures"))

    def add(self, cell: Cell, measured: Measured, run: int = 1) -> bool:
        """Keep a measurement, whole or not at all; say whether it is new. An earlier one of this run stays."""
        row = {
            **{"cell": cell.key, "run": run, "data": cell.data, "category": cell.category, "seed": cell.seed},
            **{"configuration": cell.configuration.name, "method": cell.configuration.method},
            **{"parameters": dict(cell.configuration.parameters), "timing": dict(measured.timing)},
            **{"memory": measured.memory, "provenance": dict(measured.provenance), "measured_at": _now(), "origin": ""},
            **{name: None if value is None else float(value) for name, value in measured.metrics.items()},
            **{name: None if value is None else int(value) for name, value in measured.counts.items()},
            "scores": self._keep_scores(dict(measured.scores)),
        }
        with self._transaction() as connection:
            connection.execute("DELETE FROM failures WHERE cell = ?", (cell.key,))
            return self._insert(connection, row)

    def add_failure(self, cell: Cell, error: str) -> None:
        """Keep why a cell could not be measured, until it is."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (cell.key, str(cell), error, _now())
            )

    def rows(self) -> list[dict[str, Any]]:
        """Every measurement, in the order of cells and runs; metrics in [0, 1]."""
        found = self._query(f"SELECT {', '.join(COLUMNS)} FROM results ORDER BY data, category, cell, run")
        rows = [dict(zip(COLUMNS, values, strict=True)) for values in found]
        for row in rows:
            row |= {name: json.loads(row[name]) for name in JSON}
        return rows

    def frame(self, *, latest: bool = True) -> pd.DataFrame:
        """Measurements as a table, one line each: the last of every cell, or all of them.

        What a method does not have is missing there: those without maps count no regions.
        """
        import pandas as pd

        newest = self.runs()
        rows = [row for row in self.rows() if not latest or row["run"] == newest[row["cell"]]]
        found = pd.DataFrame(
            [_flat(row) for row in rows], columns=None if rows else [c for c in COLUMNS if c not in JSON]
        )
        return found.astype(dict.fromkeys(COUNTS, "Int64"))  # whole numbers, even where one is missing

    def scores(self, scores: str) -> dict[str, np.ndarray]:
        """The image scores of a measurement: name, defect and score of each test picture.

        Raises FileNotFoundError if their file is gone, ValueError if it is not what was written.
        """
        path = self._scores_file(scores)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: these image scores are gone; measure the cell again (again=True)")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged ({error}); measure the cell again (again=True)") from error
        if sha256_arrays(arrays) != scores:
            raise ValueError(f"{path}: altered, its contents do not match their hash; measure again (again=True)")
        return arrays

    def export(self, path: str | Path) -> Path:
        """Write `frame` as CSV or Parquet, by the file's ending; whole or not at all.

        Raises ValueError for another ending, and if Parquet is wanted without pyarrow.
        """
        path = Path(path)
        if path.suffix not in (".csv", ".parquet"):
            raise ValueError(f"{path}: name a file that ends in .csv or .parquet")
        with replacing(path) as partial:
            if path.suffix == ".csv":
                self.frame().to_csv(partial, index=False)
            else:
                try:
                    self.frame().to_parquet(partial, index=False)
                except ImportError as error:
                    raise ValueError("Parquet needs a package more: pip install pyarrow; or write .csv") from error
        return path

    def take(self, other: Store) -> Imported:
        """Add another person's measurements of cells that this store lacks, and say where the two differ.

        A cell that both have is compared with the last measurement here and left alone. Raises ValueError as `writing`
        does, and for scores in the other store that are gone or damaged.
        """
        with self.writing():
            mine = {row["cell"]: row for row in self.rows()}  # of several runs the last
            taken, same, conflicts = [], [], []
            theirs = {row["cell"]: row for row in other.rows()}
            for key, row in theirs.items():
                if key not in mine:
                    self._keep_scores(other.scores(row["scores"]))
                    row |= {"origin": row["origin"] or other.identity, "run": 1}
                    with self._transaction() as connection:
                        self._insert(connection, row)
                    taken.append(key)
                elif all(mine[key][name] == row[name] for name in RESULT):
                    same.append(key)
                else:
                    conflicts.append((mine[key], row))
        return Imported(taken, same, conflicts)

    def costs(self, host: str) -> dict[str, dict[str, float]]:
        """What stages were found to cost on a kind of machine."""
        found = self._query("SELECT what, value FROM costs WHERE what LIKE ?", (f"{host}|%",))
        return {what.removeprefix(f"{host}|"): json.loads(value) for what, value in found}

    def add_costs(self, host: str, costs: dict[str, dict[str, float]]) -> None:
        """Keep what stages were found to cost on a kind of machine."""
        with self._transaction() as connection:
            for what, value in costs.items():
                connection.execute(
                    "INSERT OR REPLACE INTO costs VALUES (?, ?)", (f"{host}|{what}", json.dumps(value, sort_keys=True))
                )

    def _scores_file(self, scores: str) -> Path:
        return self.folder / SCORES / f"{scores}.npz"

    def _keep_scores(self, arrays: dict[str, np.ndarray]) -> str:
        name = sha256_arrays(arrays)
        path = self._scores_file(name)
        if not path.is_file():
            make_folder(path.parent)
            try:
                with replacing(path) as partial:
                    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"{error.strerror}; free some space; all that was kept before is whole",
                    str(path.parent),
                ) from error
        return name

    def _insert(self, connection: sqlite3.Connection, row: dict[str, Any]) -> bool:
        values = [json.dumps(row[c], sort_keys=True) if c in JSON else row[c] for c in COLUMNS]
        marks = ", ".join("?" for _ in COLUMNS)
        cursor = connection.execute(f"INSERT OR IGNORE INTO results ({', '.join(COLUMNS)}) VALUES ({marks})", values)
        return cursor.rowcount == 1

    def _create(self) -> None:
        """A whole empty file, or none."""
        with replacing(self.file) as partial:
            connection = sqlite3.connect(partial)
            connection.executescript(TABLES)
            connection.execute("INSERT INTO about VALUES ('identity', ?)", (uuid4().hex,))
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.commit()
            connection.close()
            # Readers go on while the writer writes. The mode stays with the file.
            connection = sqlite3.connect(partial)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.close()

    def _check(self) -> None:
        with self._connected() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "results" not in names:
                raise ValueError(f"{self.file}: an SQLite file, but not a store of pclib's; choose another folder")
            trouble = [row[0].splitlines()[-1] for row in connection.execute("PRAGMA quick_check(3)") if row[0] != "ok"]
        if trouble:
            raise ValueError(self._damaged(some(trouble)))
        if version > SCHEMA:
            raise ValueError(
                f"{self.file}: written by a newer pclib (schema {version}; this one knows {SCHEMA}); update pclib, or "
                "use another store"
            )
        if version < SCHEMA:
            self._migrate(version)

    def _migrate(self, version: int) -> None:
        backup = self.file.with_suffix(f".schema{version}.backup.sqlite")
        with self.writing():
            if not backup.exists():
                with replacing(backup) as partial, self._connected() as connection:
                    copy = sqlite3.connect(partial)
                    connection.backup(copy)
                    copy.close()
            try:
                with self._transaction() as connection:
                    for step in range(version, SCHEMA):
                        for statement in filter(str.strip, MIGRATIONS[step].split(";")):
                            connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {SCHEMA}")
            except (ValueError, KeyError) as error:
                raise ValueError(
                    f"{self.file}: cannot be brought from schema {version} to {SCHEMA} ({error}); it is as it was, "
                    f"and a copy is in {backup}"
                ) from error

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple]:
        with self._connected() as connection:
            return connection.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection of this call's own; what SQLite refuses is said in words."""
        connection = None
        try:
            # In a folder that cannot be written to, SQLite must be told that nobody else will write either.
            how = "" if os.access(self.folder, os.W_OK) else "?immutable=1"
            where = self.file.absolute().as_uri() + how
            connection = sqlite3.connect(where, timeout=PATIENCE, isolation_level=None, uri=True)
            yield connection
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error
        finally:
            if connection is not None:
                connection.close()

    def _explained(self, error: sqlite3.DatabaseError) -> ValueError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return ValueError(f"{self.file}: held by another program for more than {PATIENCE:g} s; close it there")
        if "readonly" in text or "read-only" in text or "unable to open" in text:
            return ValueError(f"{self.file}: cannot be opened for this ({text}); use a folder that you may write to")
        if "full" in text or "disk I/O" in text:
            return ValueError(f"{self.file}: the disk is full or fails ({text}); nothing half-written is left")
        if "malformed" in text or "not a database" in text:
            return ValueError(self._damaged(text))
        return ValueError(f"{self.file}: refused by SQLite ({text})")

    def _damaged(self, what: str) -> str:
        backups = [str(p) for p in sorted(self.folder.glob("*.backup.sqlite"))]
        copies = f"a copy from before a migration is in {some(backups)}" if backups else "there is no copy beside it"
        return f"{self.file}: damaged ({what}); {copies}. Move it away to start anew"


@dataclass(frozen=True)
class Imported:
    """What `Store.take` did: keys of cells `taken` and of those that are the `same`, and pairs (mine, theirs) of rows
    that differ."""

    taken: list[str]
    same: list[str]
    conflicts: list[tuple[dict[str, Any], dict[str, Any]]]

    def __repr__(self) -> str:
        return (
            f"{len(self.taken)} measurements taken, {len(self.same)} already here, {len(self.conflicts)} differ "
            "and were left alone"
        )

    def differences(self) -> pd.DataFrame:
        """One line for each metric that differs: mine, theirs, and whether data, weights and code were the same."""
        import pandas as pd

        lines = []
        for mine, theirs in self.conflicts:
            where = {name: mine[name] for name in ("configuration", "data", "category", "seed")}
            alike = {
                f"same {what}": mine["provenance"].get(what) == theirs["provenance"].get(what)
                for what in ("data", "weights", "code", "host")
            }
            lines += [
                {**where, "metric": shown, "mine": mine[name], "theirs": theirs[name], **alike}
                for shown, name in METRICS.items()
                if mine[name] != theirs[name]
            ] or [{**where, "metric": "interval, counts or image scores", "mine": None, "theirs": None, **alike}]
        return pd.DataFrame(lines)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """One line of a table: what JSON holds is spread out, or text."""
    plain = {name: value for name, value in row.items() if name not in JSON}
    made_of = row["provenance"]
    return {
        **plain,
        "parameters": json.dumps(row["parameters"], sort_keys=True),
        "seconds": sum(row["timing"].values()),
        **{f"seconds_{stage}": seconds for stage, seconds in row["timing"].items()},
        **{"data_sha256": made_of.get("data"), "weights_sha256": made_of.get("weights")},
        **{"code": made_of.get("code"), "host": made_of.get("host")},
        "versions": json.dumps(made_of.get("versions", {}), sort_keys=True),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
