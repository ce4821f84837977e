// A table of numbers. Headers of columns sort, cells are chosen; arrow keys move among both, one of which has the tab
// stop. Presses are counted, so that the same one twice is two.
function render({ model, el }) {
  const frame = document.createElement("div");
  let buttons = []; // rows of them, the headers first
  let at = [1, 0]; // row and column of the tab stop
  frame.className = "pclib-grid";
  el.append(frame);

  const make = (tag, text, attributes = {}) => {
    const node = document.createElement(tag);
    node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const tell = (trait, ...what) => {
    model.set(trait, [...what, (model.get(trait).at(-1) ?? 0) + 1]);
    model.save_changes();
  };
  const pressable = (cell, button, row, column, press) => {
    button.type = "button";
    button.tabIndex = -1;
    button.addEventListener("focus", () => stop(row, column));
    button.addEventListener("click", press);
    (buttons[row] ??= [])[column] = button;
    cell.append(button);
    return cell;
  };
  const stop = (row, column) => {
    buttons[at[0]]?.[at[1]]?.setAttribute("tabindex", "-1");
    at = [row, column];
    buttons[row]?.[column]?.setAttribute("tabindex", "0");
  };

  const build = () => {
    const { caption = "", columns = [], rows = [] } = model.get("table");
    const held = frame.contains(document.activeElement);
    const table = make("table", "", { role: "grid" });
    const head = make("tr", "");
    buttons = [];
    head.append(make("th", "method", { scope: "col" }));
    columns.forEach(({ key, label, sort }, j) => {
      const th = make("th", "", { scope: "col", "aria-sort": sort });
      head.append(pressable(th, make("button", label), 0, j, () => tell("pressed", key)));
    });
    table.append(make("caption", caption), make("thead", ""), make("tbody", ""));
    table.tHead.append(head);
    rows.forEach((row, i) => {
      const tr = make("tr", "");
      tr.append(make("th", row.key, { scope: "row" }));
      row.cells.forEach(({ text, name, best }, j) => {
        const button = make("button", text, { "aria-label": best ? `${name}; highest of its column` : name, title: name });
        if (best) button.className = "pclib-best";
        tr.append(pressable(make("td", "", { role: "gridcell" }), button, i + 1, j, () => tell("picked", row.key, columns[j].key)));
      });
      table.tBodies[0].append(tr);
    });
    frame.replaceChildren(table);
    stop(Math.min(at[0], rows.length), Math.min(at[1], Math.max(columns.length - 1, 0)));
    if (held) buttons[at[0]]?.[at[1]]?.focus();
    mark();
  };
  const mark = () => {
    const { columns = [], rows = [] } = model.get("table");
    const [method, category] = model.get("chosen");
    rows.forEach((row, i) =>
      columns.forEach(({ key }, j) =>
        buttons[i + 1][j].setAttribute("aria-pressed", String(row.key === method && key === category)),
      ),
    );
  };

  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  frame.addEventListener("keydown", (event) => {
    const width = buttons[0]?.length ?? 0;
    let to = null;
    if (steps[event.key]) to = [at[0] + steps[event.key][0], at[1] + steps[event.key][1]];
    else if (event.key === "Home") to = [event.ctrlKey ? 1 : at[0], 0];
    else if (event.key === "End") to = [event.ctrlKey ? buttons.length - 1 : at[0], width - 1];
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    buttons[to[0]]?.[to[1]]?.focus();
  });

  model.on("change:table", build);
  model.on("change:chosen", mark);
  build();
  return () => {
    model.off("change:table", build);
    model.off("change:chosen", mark);
  };
}
export default { render };
