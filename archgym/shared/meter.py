"""The meter of a shared task: every pass through a network is paid for before it runs."""

from __future__ import annotations

import math
from typing import Protocol

from archgym.errors import BudgetExhausted


class Account(Protocol):
    """What pays: a ledger (`archgym.ledger.Ledger`)."""

    @property
    def cost(self) -> float: ...

    def charge(self, amount: float, what: str) -> None: ...


class _Unlimited:
    """An account without a budget."""

    cost = 0.0

    def charge(self, amount: float, what: str) -> None:
        self.cost += amount


class Meter:
    """Charges the passes of a task and of its clones.

    Args:
        account: ledger that pays; None counts only.

    Attributes:
        limit: cost of the account beyond which no pass is paid, so that a share of the budget is left.
    """

    def __init__(self, account: Account | None = None):
        self.account: Account = _Unlimited() if account is None else account
        self.limit = math.inf

    @property
    def cost(self) -> float:
        """Cost of the account."""
        return self.account.cost

    def pay(self, amount: float, what: str) -> None:
        """Charge a pass.

        Raises:
            BudgetExhausted: the budget or the limit cannot pay it; nothing is charged.
        """
        if self.account.cost + amount > self.limit:
            raise BudgetExhausted(f"the share of the cost budget for training is spent ({what})")
        self.account.charge(amount, what)
