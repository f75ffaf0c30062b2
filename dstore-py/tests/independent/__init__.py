"""The formats of docs/format.md in Python, written from that document and with no code of dstore: one module for each noun."""
