"""Systems on chip: a task graph on processors, accelerators, memories and buses, after FARSI."""
