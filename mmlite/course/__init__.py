"""The course's notebooks: built from masters, executed, handed out; their claims and figures."""
