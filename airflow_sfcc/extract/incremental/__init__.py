"""How an extract continues from the ones before: windows, state, deletions, carried rows, schema drift."""
