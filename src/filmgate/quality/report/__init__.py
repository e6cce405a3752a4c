"""Reports as pages and images."""
