"""What can be wrong with a backend."""


class BackendError(Exception):
    """A backend cannot do what was asked; the text says what to do."""


class OptionError(BackendError):
    """An option of a backend is unknown or wrong. `path` names the field below the backend's options, such as `accelerators[0].id`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class FamilyError(BackendError):
    """A family description is wrong. The text names the file, the field and the reason."""
