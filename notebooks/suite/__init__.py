"""What keeps every notebook true: how it is run, what its file must look like, and which numbers are compared.

`docs/writing-a-notebook.md` says in words what these modules check.
"""
