"""Parts of a translation that the user gives: templates, phrases and references."""
