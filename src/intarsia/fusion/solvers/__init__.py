"""Ways to find alpha, one file each: a function from measured shifts and a target to a `Solution`."""

from intarsia.fusion.solvers.bracket import bracket
from intarsia.fusion.solvers.grid import grid
from intarsia.fusion.solvers.joint import joint
from intarsia.fusion.solvers.newton import newton
from intarsia.fusion.solvers.refine import refine
from intarsia.fusion.solvers.solution import Goal, Solution

__all__ = ["Goal", "Solution", "bracket", "grid", "joint", "newton", "refine"]
