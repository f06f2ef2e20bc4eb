"""The parts of the report: logs read, figures drawn, sections written. :mod:`slam_plugin.report` puts them together."""
