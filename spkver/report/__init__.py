"""Reports on scores and training runs: tables, curves and pages."""
