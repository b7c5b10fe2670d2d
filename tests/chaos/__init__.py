"""Extracts under faults: workers killed, paused and woken, full disks, double starts, broken networks, readers meanwhile."""
