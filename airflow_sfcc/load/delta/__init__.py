"""Delta Lake tables: copy-on-write by file, in the order of Ids, and one commit that fails if the table has moved on.

table.py     the target: what the table says of itself, and the commit
files.py     data files: written, or linked from an extract; what the log says of them
rewrite.py   copy-on-write: files that hold changed Ids are written anew, a few at a time
sorted_rows.py  the changes, read along with the files
vacuum.py    removing files that no version within a retention needs
"""

from __future__ import annotations
