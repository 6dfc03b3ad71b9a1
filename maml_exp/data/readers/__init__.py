"""How the data of families that need some is read, a file each: `wanted` and `read`; a family's settings name it."""

from maml_exp.core.registry import Registry

READERS = Registry(__name__, key="task reader", parts=("wanted", "read"))
