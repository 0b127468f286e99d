"""Tasks, designs and results as text, for language models and other readers of plain words."""

from archgym.deprecated.names import old_names
from archgym.text.prompts import describe, parse, schema
from archgym.text.reports import report

__all__ = ["describe", "parse", "report", "schema"]

# the module of this name before
__getattr__ = old_names(
    __name__,
    **dict.fromkeys(
        (
            "assignments",
            "duration",
            "is_printable",
            "is_unicode",
            "markdown_table",
            "number",
            "one_line",
            "percent",
            "plain",
            "printable",
            "shown",
            "significant",
        ),
        "archgym.words:",
    ),
)
