"""A real Airflow and a local Salesforce org on this machine: what ``make demo`` and ``make up`` run."""
