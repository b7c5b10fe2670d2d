"""What landed, described for people and for dbt: from manifests, and what describe said beside them. Imports no Airflow."""
