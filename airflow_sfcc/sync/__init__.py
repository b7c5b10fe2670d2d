"""A whole org: which objects there are, how each is extracted, which have changed, and what became of them.

    patterns -> catalog -> planning (changes, schedule) -> an extract for each object -> report

Imports no Airflow. docs/whole-org.md tells it for people.
"""
