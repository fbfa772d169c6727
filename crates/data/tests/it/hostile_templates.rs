//! Whatever a chat template does, rendering it ends, in bounded memory, in text or in a message.

use std::fs;

use data::{DataError, PreparedData, prepare};
use proptest::prelude::*;
use spec::{DataSettings, ValidationSource};

/// Bytes that the whole process may take: the tokenizer and the test itself need under 100 MiB, a
/// template some hundreds on each of the threads that render.
const MOST_MEMORY: u64 = 2 << 30;

/// Prepares a few conversations with a model that has this chat template.
fn prepared(template: &str) -> Result<PreparedData, DataError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let model = dir.path().join("model");
    fs::create_dir(&model).expect("a folder for the model");
    for file in fs::read_dir("tests/bad_data/model").expect("the model of the tests") {
        let file = file.expect("a file of the model");
        fs::copy(file.path(), model.join(file.file_name())).expect("copying it");
    }
    fs::write(model.join("chat_template.jinja"), template).expect("writing the template");
    let row = |word: &str| {
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{word}\"}}, \
             {{\"role\": \"assistant\", \"content\": \"b {word}\"}}]}}\n"
        )
    };
    let rows = dir.path().join("rows.jsonl");
    fs::write(&rows, ["a", "c", "d", "e"].map(row).concat()).expect("writing the rows");
    let settings = DataSettings::new(&rows, ValidationSource::Fraction(0.5));
    prepare(&settings, &model, 64)
}

/// The most memory that this process has had, in bytes; `None` where the system does not tell.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn assert_small(template: &str) {
    if let Some(peak) = peak_memory() {
        assert!(peak < MOST_MEMORY, "{} MiB after {template}", peak >> 20);
    }
}

/// The message with which the template is refused, which names its file and a row.
fn refusal(template: &str) -> String {
    let error = prepared(template).err();
    assert_small(template);
    let told = error.unwrap_or_else(|| panic!("{template} is taken")).to_string();
    assert!(told.contains("chat_template.jinja") && told.contains("rows.jsonl"), "{told}");
    told
}

fn assert_too_much(templates: &[&str]) {
    for template in templates {
        let told = refusal(template);
        assert!(told.contains("takes too much"), "{template}: {told}");
    }
}

#[test]
fn a_template_that_doubles_a_text_is_refused_with_its_line() {
    let templates = [
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}\
         {% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}\
         {% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s * 2 %}\
         {% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}\
         {% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}\
         {% set ns.s = [ns.s, ns.s] | join %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}\
         {% set ns.s = ns.s | replace('a', 'aa') | replace('b', ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}\
         {% set ns.s = '%s%s' | format(ns.s, ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}\
         {% set ns.s = '{0}{0}'.format(ns.s) %}{% endfor %}",
        "{% macro twice(s, n) %}{% if n %}{{ twice(s ~ s, n - 1) }}{% else %}{{ s }}{% endif %}\
         {% endmacro %}{{ twice('ab', 60) }}",
    ];
    for template in templates {
        let told = refusal(template);
        assert!(told.contains("MiB") && told.contains("template line 1"), "{template}: {told}");
    }
}

#[test]
fn a_template_that_doubles_a_list_is_refused() {
    let templates = [
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}\
         {% endfor %}{{ ns.s | length }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}\
         {% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = {1: ns.s, 2: ns.s} %}\
         {% endfor %}{{ ns.s | tojson }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}\
         {% set ns.s = [ns.s, ns.s] | map('list') | list %}{% endfor %}",
        "{{ ([0] * 100000000000) | length }}",
        "{{ 9000000000000000000 * [0, 1, 2] }}",
        "{{ [0] | batch(100000000000, 1) | list }}",
    ];
    assert_too_much(&templates);
}

#[test]
fn a_text_of_any_number_of_repetitions_or_blanks_is_refused() {
    let templates = [
        "{{ 'x' * 10 ** 12 }}",
        "{{ 'x' * 90000000 }}",
        "{{ 10 ** 12 * 'x' }}",
        "{{ ('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000) }}",
        "{{ 'x' | indent(100000000000, true) }}",
        "{{ 'x' | indent(width=100000000000, first=true) }}",
        "{{ '%100000000000d' | format(1) }}",
        "{{ '%.100000000000f' | format(1.5) }}",
        "{{ '%*d' | format(10000000000, 1) }}",
        "{{ '{:100000000000}'.format(1) }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(300) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns == ns }}",
    ];
    assert_too_much(&templates);
}

#[test]
fn a_template_that_does_not_end_is_refused() {
    let templates = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{% for b in range(9999) %}abc{% endfor %}{% endfor %}",
        "{% set x %}{% for a in range(9999) %}{% for b in range(9999) %}abc{% endfor %}{% endfor %}\
         {% endset %}",
        "{% macro f(x) %}{% endmacro %}{% for a in range(9999) %}{% do f(range(9999)) %}{% endfor %}",
    ];
    assert_too_much(&templates);
}

/// These fail like a template of an engine without such a function: row by row.
#[test]
fn deep_recursion_and_long_chains_end_in_a_message() {
    let chains = ["~'a'", "|trim", ".a", "[0]", "+1", " and 1"];
    let chains = chains.map(|link| format!("{{{{ 'a'{} }}}}", link.repeat(200_000)));
    let nested =
        ["(", "[", "{1:", "not ", "-"].map(|open| format!("{{{{ {}1 }}}}", open.repeat(100_000)));
    let elifs = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(100_000));
    let ifs = "{% if 1 %}".repeat(100_000);
    let others = [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{{ f([x]) }}{% endmacro %}{{ f(1) }}",
        "{% for m in [[]] recursive %}{{ loop([[]]) }}{% endfor %}",
        "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
        "{{ 1 | tojson(indent=100000) }}",
        "{{ debug() }}",
        "{% include 'template' %}",
        "{% extends 'template' %}",
        "{% import 'template' as t %}",
    ];
    let others = others.map(str::to_owned);
    for template in chains.into_iter().chain(nested).chain([elifs, ifs]).chain(others) {
        let shown: String = template.chars().take(60).collect();
        let error = prepared(&template).err().unwrap_or_else(|| panic!("{shown} is taken"));
        assert!(error.to_string().contains("template"), "{shown}: {error}");
        assert_small(&shown);
    }
}

/// An expression made of what grows.
fn expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(
        &[
            "a",
            "b",
            "ns.s",
            "ns.t",
            "'xy'",
            "'%s-%s'",
            "[]",
            "[1]",
            "{'k': 1}",
            "messages",
            "messages[0].content",
            "range(1000)",
            "7",
            "99999999",
            "none",
            "nothing",
        ][..],
    );
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 2, |inner| {
        let binary = proptest::sample::select(
            &[
                "({} ~ {})",
                "({} + {})",
                "({} * {})",
                "[{}, {}]",
                "{'k': {}, 'l': {}}",
                "({} | replace('x', {} | string))",
                "({} | join({} | string))",
                "([{}, {}] | join)",
                "({} | format({}, a))",
                "({} in {})",
                "({} == {})",
                "({} or {})",
                "f({}, {})",
                "({} | map('replace', 'x', {}) | list)",
                "({} | batch(3, {}) | list)",
                "({} | list + {} | list)",
                "dict(p={}, q={})",
                "({} | zip({}) | list)",
                "({} | chain({}))",
                "({} if {} else a)",
            ][..],
        );
        let unary = proptest::sample::select(
            &[
                "({} | string)",
                "({} | list)",
                "({} | tojson)",
                "({} | tojson(indent=8))",
                "({} | indent(50, true))",
                "({} | upper)",
                "({} | length)",
                "{}[1:]",
                "{}[::-1]",
                "({} | reverse)",
                "({} | pprint)",
                "({} | escape)",
                "{}.split('x')",
                "{}.items()",
                "({} | items | list)",
                "({} | unique | list)",
                "({} | sort)",
                "({} | groupby('k'))",
                "({} | sum)",
                "{}.s",
            ][..],
        );
        prop_oneof![
            (binary, inner.clone(), inner.clone())
                .prop_map(|(form, x, y)| form.replacen("{}", &x, 1).replacen("{}", &y, 1)),
            (unary, inner).prop_map(|(form, x)| form.replacen("{}", &x, 1)),
        ]
    })
}

fn template() -> impl Strategy<Value = String> {
    let statement = (
        proptest::sample::select(
            &[
                "{% set a = {} %}",
                "{% set ns.s = {} %}",
                "{% set ns.t = {} %}",
                "{{ {} }}",
                "{% set b %}{{ {} }}{{ b }}{% endset %}",
                "{% set ns.s %}{{ ns.t }}raw{% endset %}",
                "{% filter upper %}{{ {} }}{% endfilter %}",
                "{% do f({}, a) %}",
                "{% call(x) f({}, 1) %}{{ x }}{% endcall %}",
                "{% with a = {} %}{{ a }}{% endwith %}",
                "{% generation %}{{ {} }}{% endgeneration %}",
            ][..],
        ),
        expression(),
    )
        .prop_map(|(form, value)| form.replacen("{}", &value, 1));
    let block = statement.prop_recursive(3, 16, 4, |inner| {
        let wrap = proptest::sample::select(
            &[
                "{% for i in range(99) %}{}{% endfor %}",
                "{% for a in ns.t %}{}{% endfor %}",
                "{% for m in messages %}{}{% endfor %}",
                "{% if a %}{}{% endif %}",
                "{% macro f(x, y) %}{{ x }}{}{{ y }}{% endmacro %}",
                "{% for a in [ns.s] recursive %}{}{{ loop([a]) }}{% endfor %}",
            ][..],
        );
        (wrap, proptest::collection::vec(inner, 1..4))
            .prop_map(|(form, body)| form.replacen("{}", &body.concat(), 1))
    });
    proptest::collection::vec(block, 1..5).prop_map(|body| {
        let start = "{% macro f(x, y) %}{{ x }}{{ y }}{% endmacro %}\
                     {% set ns = namespace(s='xy', t=['x']) %}{% set a = 'xy' %}";
        format!("{start}{}", body.concat())
    })
}

/// Data, or a message that is not that of a panic.
fn sound(result: Result<PreparedData, DataError>) -> Result<(), TestCaseError> {
    let Err(error) = result else { return Ok(()) };
    let told = error.to_string();
    prop_assert!(!told.is_empty() && !told.contains("a mistake in the engine"), "{}", told);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_templates_of_what_grows_end_in_bounded_memory(template in template()) {
        sound(prepared(&template))?;
        if let Some(peak) = peak_memory() {
            prop_assert!(peak < MOST_MEMORY, "{} MiB", peak >> 20);
        }
    }

    #[test]
    fn shreds_of_templates_end_in_data_or_a_message(
        shreds in proptest::collection::vec(proptest::sample::select(&[
            "{{ ", " }}", "{% ", " %}", "{%- ", "{# ", "#}", "if ", "elif ", "else", "endif", "for ",
            " in ", "endfor", "set ", "macro ", "endmacro", "generation", "endgeneration", "call ",
            "(", ")", "[", "]", "{", "}", "'", "\"", "|", "~", "**", "%", ".", ",", "=", "messages",
            "loop", "m", "range", "'é'", "\\u0000", "1e999", "0x", "-", "is ", "not ", "break",
            "continue", "\u{FDD0}", "\r", "\n", "raw", "endraw", "namespace", "self", "super()",
        ][..]), 0..40),
    ) {
        sound(prepared(&shreds.concat()))?;
    }
}

/// Values that the engine would compute from others at each use would be as deep as the loop is long.
#[test]
fn chains_of_lists_and_maps_as_long_as_a_loop_are_taken() {
    for link in [
        "ns.x | chain([])",
        "ns.x | chain({})",
        "ns.x[0:]",
        "ns.x | reverse",
        "ns.x + []",
        "ns.x * 1",
    ] {
        let start = if link.contains('}') { "{'k': 1}" } else { "[1]" };
        let template = format!(
            "{{% set ns = namespace(x={start}) %}}{{% for i in range(9999) %}}\
             {{% set ns.x = {link} %}}{{% endfor %}}{{% for m in messages %}}{{{{ m.content }}}};\
             {{% endfor %}}{{{{ ns.x }}}}"
        );
        if let Err(error) = prepared(&template) {
            panic!("{link}: {error}");
        }
    }
}

/// Templates that append turn by turn make the text as often as there are turns; that is theirs to do.
#[test]
fn a_template_that_appends_turn_by_turn_to_a_long_text_is_taken() {
    let template = "{% set ns = namespace(s='x' * 20000) %}{% for i in range(500) %}\
                    {% set ns.s = ns.s ~ 'one more turn' %}{% endfor %}\
                    {% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}assistant: {% endif %}{{ ns.s | length }}";
    let data = prepared(template).expect("a template that is only slow");
    assert_eq!(data.train.examples.len() + data.validation.examples.len(), 4);
}
