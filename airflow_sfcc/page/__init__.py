"""The page "Salesforce" in Airflow's UI: is Salesforce in, complete and fresh?

    stored   what Airflow's database has: events of assets, runs, task instances
    model    what that means: for each org, each object and each night; building makes it of what is stored
    charts   pictures of it, with their text
    web      the routes, under Airflow's own authorisation

Nothing here reads a file of an extract, or calls Salesforce, while a page loads.
"""
