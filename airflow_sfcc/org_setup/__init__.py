"""The org's side as code: a Salesforce DX project for the app and the user's access, and the rotation of credentials.

Imports no Airflow: what reads connections is in `_airflow`.
"""
