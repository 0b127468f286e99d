"""Growth of plain convolutional networks by transformations that keep their function.

moves       the moves, and the space of paths of them
transform   the transformations of a network in PyTorch
grown       networks grown along a path, with training in between
"""
