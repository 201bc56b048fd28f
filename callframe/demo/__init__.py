"""Made-up calls, and a real HTTP service on loopback that serves them."""


def demo(): ...
