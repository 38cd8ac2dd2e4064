"""Serves the {{ cookiecutter.kind }} to the host that started this process."""

from aperio_plugin import {{ cookiecutter.kind }}

from {{ cookiecutter.kind }} import {{ cookiecutter.class_name }}

if __name__ == "__main__":
    {{ cookiecutter.kind }}.serve({{ cookiecutter.class_name }}())
