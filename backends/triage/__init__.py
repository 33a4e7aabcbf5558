"""What is wrong on a site, why, whom it hits and what to do: pure rules over what the site knows.

`rules` judge, `tracker` gives them time, `grouping` folds what follows into its cause, `impact` orders them, `past` and
`inventory` remember, `engine` puts them together and `watch` keeps a topic at the result.
"""
