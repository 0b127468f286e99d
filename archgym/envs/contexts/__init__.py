"""Sets of contexts with their exact optima, where finding these takes long."""
