"""The applications that are measured, one module each, with the paths of `benchmarks.scenarios`.

`build(size)` makes one whose answers have `size` bytes. A module imports its own library only:
it runs in the environment that has that library.
"""
