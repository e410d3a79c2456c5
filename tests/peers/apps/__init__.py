"""The same application on each library, in the words of that library's own documentation.

``build(shelf)`` makes it. A module imports its own library only: it runs where that is installed.
"""
