"""`python -m salesforce_localorg`: the same as `salesforce-localorg`."""

from __future__ import annotations

from salesforce_localorg.command import main

main()
