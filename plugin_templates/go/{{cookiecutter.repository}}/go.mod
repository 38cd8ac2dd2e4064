module {{ cookiecutter.module }}

go {{ cookiecutter.go_version }}

require {{ cookiecutter.sdk_module }} {{ cookiecutter.sdk_version }}

require (
{{ cookiecutter.go_requirements }}
)

// The SDK as it came with aperio. `go mod edit -dropreplace={{ cookiecutter.sdk_module }}`
// takes the published one.
replace {{ cookiecutter.sdk_module }} => ./third_party/aperio-plugin-go
