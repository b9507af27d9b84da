"""What a data provider does at home: bound each unit's part, encrypt, sign. Needs `pip install banyan-client[encrypt]`.

The files that say what keys, terms and headers look like are the service's own, by symbolic link: one text for both sides.
"""
