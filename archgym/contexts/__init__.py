"""Contexts: the tasks that one environment draws from, what agents see of them, and policies that design
for new ones.

    Contexts            mappings of environment arguments      `sets`
    Features            context -> standardised numbers        `features`
    ContextualEvaluator rows of several contexts in one step   `evaluator`
    Policy              context -> designs, without a sample   `policy`
    train               agent + contexts + budget -> Policy    `training`
"""
