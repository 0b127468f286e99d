"""Old names that still work, each with a DeprecationWarning that names the new one: the place to delete from
at a major version.

modules      modules that moved
names        classes and functions that moved or were renamed
arguments    arguments that were renamed
"""
