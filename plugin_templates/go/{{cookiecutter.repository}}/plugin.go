// Command {{ cookiecutter.repository }} serves the {{ cookiecutter.kind }} to the host that started it.
package main

import "{{ cookiecutter.sdk_module }}/{{ cookiecutter.kind }}"

func main() { {{ cookiecutter.kind }}.Serve(&{{ cookiecutter.class_name }}{}) }
