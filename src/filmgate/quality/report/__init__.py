"""HTML reports, plots and contact sheets."""
