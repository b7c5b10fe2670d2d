"""Proving what landed against the org without reading it again, and healing what is wrong.

compared    what is compared: object, condition, fields, and until when     `source`
two sides   counts and stamps per interval                                  `org_side`, `local_side`
search      from months to hours to Ids, where the sides differ             `search`
heal        an extract of exactly the wrong rows                            `heal`
"""
