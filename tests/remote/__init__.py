"""A package, so that its fixtures do not take the place of the module `conftest` of all tests."""
