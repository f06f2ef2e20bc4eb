"""The report: logs read, figures drawn, sections written; ``page`` puts them together."""
