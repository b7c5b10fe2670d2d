"""Behind the surface: what turns Airflow's connections, contexts and destinations into what the engine takes."""
