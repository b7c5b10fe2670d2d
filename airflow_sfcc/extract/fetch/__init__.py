"""Reading the result pages of one query, by REST or from a Bulk job."""
