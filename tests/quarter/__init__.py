"""A Salesforce org and a nightly extract living through months, against an independent record of what the org held when."""
