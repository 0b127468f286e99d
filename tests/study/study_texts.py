"""Study files for the tests."""

from __future__ import annotations


def study_text(
    *environments: str,
    budget: int = 40,
    seeds: int = 2,
    configurations: int = 2,
    agents=("random", "genetic"),
    more: str = "",
) -> str:
    lines = ["[study]", 'name = "test"', f"budget = {budget}", f"seeds = {seeds}", more]
    lines += [f"[[env]]\n{environment}" for environment in environments]
    lines += [f'[[agent]]\nname = "{agent}"\nconfigurations = {configurations}' for agent in agents]
    return "\n".join(lines) + "\n"
