"""Complete runs: killed, on full disks, of damaged and of real videos."""
