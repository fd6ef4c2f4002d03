# METADATA
# title: Licence allow-list
# description: >
#   Every component that the model's bill of materials (CycloneDX) lists, the model
#   itself included, has a licence, and all of its licences are on the list. Of an
#   SPDX expression every part must be, whatever stands between them. What is not
#   known is not allowed. All standing bills by the role count.
package sealwright.licences

import data.sealwright.lib
import data.sealwright.revocation
import rego.v1

settings := lib.config.licences

# Bills that may name a licence that is not allowed.
bills := {a |
	some a in revocation.unsilenced_of(lib.bom_type)
	lib.signed_as(a, settings.roles)
}

standing_bills := {a |
	some a in revocation.standing_of(lib.bom_type)
	lib.signed_as(a, settings.roles)
}

violations contains v if {
	settings
	count(standing_bills) == 0
	v := {
		"code": "BOM_MISSING",
		"control": "licences",
		"msg": sprintf(
			"No standing bill of materials of this model by role %v; attest one (`sealwright attest --type cyclonedx`).",
			[lib.either(settings.roles)],
		),
	}
}

# ---- components -----------------------------------------------------------------------

components(a) := array.concat([subject(a)], array.concat(first, array.concat(second, array.concat(third, fourth)))) if {
	first := below([a.predicate])
	second := below(array.concat(first, [subject(a)]))
	third := below(second)
	fourth := below(third)
}

# The component that the bill is about. Without it there is one without a licence.
subject(a) := lib.field(lib.field(a.predicate, "metadata", {}), "component", {})

below(outers) := [inner |
	some outer in outers
	some inner in lib.list(lib.field(outer, "components", []))
]

# Something where components should be, or components nested deeper than is looked at.
unreadable(a) if {
	some outer in array.concat([a.predicate], components(a))
	"components" in lib.keys(outer)
	inner := outer.components
	not is_array(inner)
}

unreadable(a) if {
	first := below([a.predicate])
	fifth := below(below(below(below(array.concat(first, [subject(a)])))))
	count(fifth) > 0
}

unreadable(a) if {
	some component in components(a)
	not is_object(component)
}

violations contains v if {
	some a in bills
	unreadable(a)
	v := {
		"code": "BOM_UNREADABLE",
		"control": "licences",
		"msg": sprintf(
			"The bill of materials by %v has components that are no objects, or nested more than four deep; attest a flat list of components.",
			[a.signer.principal],
		),
	}
}

violations contains v if {
	some a in bills
	some component in components(a)
	not exempt(component)
	not licensed(component)
	v := {
		"code": "LICENCE_NOT_ALLOWED",
		"control": "licences",
		"msg": sprintf(
			"%v in the bill of materials by %v has the licence %v, which is not on this policy's list; replace the component, or let the owners add the licence.",
			[lib.field(component, "name", "A component without a name"), a.signer.principal, licence(component)],
		),
	}
}

# The model itself never is.
exempt(component) if {
	component.type in settings.exempt_types
	not component in subjects
}

subjects := {subject(a) | some a in bills}

# ---- licences -----------------------------------------------------------------------

licensed(component) if {
	is_array(component.licenses)
	count(component.licenses) > 0
	every choice in component.licenses {
		on_list(choice)
	}
}

# CycloneDX has one of three forms; with two of them it is not clear which one counts.
on_list(choice) if {
	lib.keys(choice) == {"license"}
	license := choice.license
	license.id in settings.allowed
	not "name" in lib.keys(license)
}

on_list(choice) if {
	lib.keys(choice) == {"license"}
	license := choice.license
	license.name in settings.allowed_names
	not "id" in lib.keys(license)
}

on_list(choice) if {
	not "license" in lib.keys(choice)
	expression_allowed(choice.expression)
}

expression_allowed(text) if text in settings.allowed

expression_allowed(text) if {
	is_string(text)
	regex.match(`^[A-Za-z0-9.+() -]+$`, text)
	parts := {part | some part in regex.split(`[() ]+`, text); part != ""}
	named := parts - {"AND", "OR"}
	count(named) > 0
	every part in named {
		part in settings.allowed
	}
}

licence(component) := lib.field(component, "licenses", "(none)")
