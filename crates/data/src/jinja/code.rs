//! Chat templates as code whose every step is bounded: parsed by the engine, written anew with the
//! checks of [`budget`](super::budget) around whatever makes a value, and compiled by the engine.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt, UnaryOpKind};
use minijinja::machinery::{
    CodeGenerator, Instructions, Span, Token, Vm, WhitespaceConfig, make_string_output, parse,
    tokenize,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

/// transformers' rules for line ends and indentation around blocks.
const WHITESPACE: WhitespaceConfig =
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };
/// The engine's parser and compiler call themselves for every operator of a chain and every `elif`;
/// longer ones would overflow the stack.
const MOST_TOKENS: usize = 1000;
const MOST_ELIF: usize = 100;

/// A compiled template.
pub(crate) struct Code {
    instructions: Instructions<'static>,
    blocks: BTreeMap<&'static str, Instructions<'static>>,
}

impl Code {
    /// Compiles a template.
    pub fn new(source: &str) -> Result<Self, Error> {
        // Code borrows from its source. A process has the templates of the models that it trains,
        // which is one or two.
        let source: &'static str = Box::leak(source.to_owned().into_boxed_str());
        check_tags(source)?;
        let tree = parse(source, "template", SyntaxConfig, WHITESPACE)?;
        let mut generator = CodeGenerator::new("template", source);
        generator.compile_stmt(&statement(&tree)?);
        let (instructions, blocks) = generator.finish();
        Ok(Self { instructions, blocks })
    }

    /// Renders it in an environment that [`environment`](super::environment) made.
    pub fn render(&self, environment: &Environment<'_>, variables: Value) -> Result<String, Error> {
        let Self { instructions, blocks } = self;
        let rendering = || {
            let mut text = String::new();
            let mut out = make_string_output(&mut text);
            Vm::new(environment)
                .eval(instructions, variables, blocks, &mut out, AutoEscape::None)
                .map(|_| ())?;
            Ok(text)
        };
        // A mistake of the engine's must not end a sweep. Nothing of a rendering is used again.
        std::panic::catch_unwind(AssertUnwindSafe(rendering)).unwrap_or_else(|_| {
            let message = "the template engine failed at it: a mistake in the engine";
            Err(Error::new(ErrorKind::InvalidOperation, message))
        })
    }
}

/// That no tag and no chain of conditions is too long to be compiled.
fn check_tags(source: &str) -> Result<(), Error> {
    let (mut tokens, mut elifs) = (0, 0);
    for token in tokenize(source, false, SyntaxConfig, WHITESPACE) {
        let (token, span) = token?;
        match token {
            Token::VariableStart | Token::BlockStart => tokens = 0,
            Token::Ident("elif") => elifs += 1,
            _ => {}
        }
        tokens += 1;
        if tokens > MOST_TOKENS || elifs > MOST_ELIF {
            let line = span.start_line;
            let message = format!(
                "line {line}: more than {MOST_TOKENS} words in one tag, or {MOST_ELIF} `elif`"
            );
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
    }
    Ok(())
}

fn statements<'a>(body: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
    body.iter().map(statement).collect()
}

fn statement<'a>(stmt: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    Ok(match stmt {
        Stmt::Template(node) => {
            let children = statements(&node.children)?;
            Stmt::Template(Spanned::new(ast::Template { children }, node.span()))
        }
        Stmt::EmitExpr(node) => {
            let expr = expression(&node.expr);
            Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, node.span()))
        }
        // As a value, so that it is counted where a block captures it.
        Stmt::EmitRaw(node) => {
            let value = Value::from(node.raw);
            let expr = Expr::Const(Spanned::new(ast::Const { value }, node.span()));
            Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, node.span()))
        }
        Stmt::ForLoop(node) => {
            let new = ast::ForLoop {
                target: target(&node.target),
                iter: expression(&node.iter),
                filter_expr: node.filter_expr.as_ref().map(expression),
                recursive: node.recursive,
                body: statements(&node.body)?,
                else_body: statements(&node.else_body)?,
            };
            Stmt::ForLoop(Spanned::new(new, node.span()))
        }
        Stmt::IfCond(node) => {
            let new = ast::IfCond {
                expr: expression(&node.expr),
                true_body: statements(&node.true_body)?,
                false_body: statements(&node.false_body)?,
            };
            Stmt::IfCond(Spanned::new(new, node.span()))
        }
        Stmt::WithBlock(node) => {
            let pairs = node.assignments.iter();
            let assignments = pairs.map(|(name, value)| (target(name), assigned(name, value)));
            let new = ast::WithBlock {
                assignments: assignments.collect(),
                body: statements(&node.body)?,
            };
            Stmt::WithBlock(Spanned::new(new, node.span()))
        }
        Stmt::Set(node) => {
            let expr = assigned(&node.target, &node.expr);
            Stmt::Set(Spanned::new(ast::Set { target: target(&node.target), expr }, node.span()))
        }
        Stmt::SetBlock(node) => {
            let filter = node.filter.as_ref().map(expression);
            let new = ast::SetBlock {
                target: target(&node.target),
                filter: Some(
                    filter.unwrap_or_else(|| filtered("made", None, Vec::new(), node.span())),
                ),
                body: statements(&node.body)?,
            };
            Stmt::SetBlock(Spanned::new(new, node.span()))
        }
        Stmt::AutoEscape(node) => {
            let new = ast::AutoEscape {
                enabled: expression(&node.enabled),
                body: statements(&node.body)?,
            };
            Stmt::AutoEscape(Spanned::new(new, node.span()))
        }
        Stmt::FilterBlock(node) => {
            let new = ast::FilterBlock {
                filter: expression(&node.filter),
                body: statements(&node.body)?,
            };
            Stmt::FilterBlock(Spanned::new(new, node.span()))
        }
        Stmt::Macro(node) => Stmt::Macro(declaration(node)?),
        Stmt::CallBlock(node) => {
            let macro_decl = declaration(&node.macro_decl)?;
            let new = ast::CallBlock { call: called(&node.call), macro_decl };
            Stmt::CallBlock(Spanned::new(new, node.span()))
        }
        // The engine would keep what is called for until the end.
        Stmt::Do(node) => {
            let id = Expr::Var(Spanned::new(ast::Var { id: "_" }, node.span()));
            let expr = checked(Expr::Call(called(&node.call)));
            Stmt::Set(Spanned::new(ast::Set { target: id, expr }, node.span()))
        }
        Stmt::Continue(node) => Stmt::Continue(Spanned::new(ast::Continue, node.span())),
        Stmt::Break(node) => Stmt::Break(Spanned::new(ast::Break, node.span())),
        Stmt::Block(node) => return Err(no_other(node.span(), "block")),
        Stmt::Import(node) => return Err(no_other(node.span(), "import")),
        Stmt::FromImport(node) => return Err(no_other(node.span(), "from")),
        Stmt::Extends(node) => return Err(no_other(node.span(), "extends")),
        Stmt::Include(node) => return Err(no_other(node.span(), "include")),
    })
}

fn no_other(span: Span, tag: &str) -> Error {
    let message = format!("line {}: a chat template has no `{tag}` tags", span.start_line);
    Error::new(ErrorKind::SyntaxError, message)
}

fn declaration<'a>(node: &Spanned<ast::Macro<'a>>) -> Result<Spanned<ast::Macro<'a>>, Error> {
    let new = ast::Macro {
        name: node.name,
        args: node.args.iter().map(target).collect(),
        defaults: node.defaults.iter().map(expression).collect(),
        body: statements(&node.body)?,
    };
    Ok(Spanned::new(new, node.span()))
}

/// What is assigned to, which the engine takes only as it stands.
fn target<'a>(expr: &Expr<'a>) -> Expr<'a> {
    match expr {
        Expr::List(node) => {
            let items = node.items.iter().map(target).collect();
            Expr::List(Spanned::new(ast::List { items }, node.span()))
        }
        Expr::GetAttr(node) => {
            let new = ast::GetAttr { expr: target(&node.expr), name: node.name };
            Expr::GetAttr(Spanned::new(new, node.span()))
        }
        Expr::Var(node) => Expr::Var(Spanned::new(ast::Var { id: node.id }, node.span())),
        _ => expression(expr),
    }
}

/// What is assigned: anything to a variable, but no namespace to a field of one.
fn assigned<'a>(target: &Expr<'a>, value: &Expr<'a>) -> Expr<'a> {
    let new = expression(value);
    if matches!(target, Expr::Var(_)) {
        return new;
    }
    filtered("kept", Some(new), Vec::new(), value.span())
}

fn expression<'a>(expr: &Expr<'a>) -> Expr<'a> {
    match expr {
        Expr::Var(_) => target(expr),
        Expr::Const(node) => {
            Expr::Const(Spanned::new(ast::Const { value: node.value.clone() }, node.span()))
        }
        Expr::Slice(node) => {
            let bound = |bound: &Option<Expr<'a>>| {
                let none =
                    || Expr::Const(Spanned::new(ast::Const { value: ().into() }, node.span()));
                CallArg::Pos(bound.as_ref().map_or_else(none, expression))
            };
            let args = [&node.start, &node.stop, &node.step].map(bound).into();
            checked(filtered("sliced", Some(expression(&node.expr)), args, node.span()))
        }
        Expr::UnaryOp(node) => {
            let is_not = matches!(node.op, UnaryOpKind::Not);
            let op = if is_not { UnaryOpKind::Not } else { UnaryOpKind::Neg };
            let new = ast::UnaryOp { op, expr: expression(&node.expr) };
            Expr::UnaryOp(Spanned::new(new, node.span()))
        }
        Expr::BinOp(node) => operator(node),
        Expr::Compare(node) => {
            let ops = node.ops.iter();
            let new = ast::Compare {
                expr: expression(&node.expr),
                ops: ops
                    .map(|next| ast::CompareOp { op: next.op, expr: expression(&next.expr) })
                    .collect(),
            };
            checked(Expr::Compare(Spanned::new(new, node.span())))
        }
        Expr::IfExpr(node) => {
            let new = ast::IfExpr {
                test_expr: expression(&node.test_expr),
                true_expr: expression(&node.true_expr),
                false_expr: node.false_expr.as_ref().map(expression),
            };
            Expr::IfExpr(Spanned::new(new, node.span()))
        }
        Expr::Filter(node) => {
            let of = node.expr.as_ref().map(expression);
            checked(filtered(node.name, of, arguments(&node.args), node.span()))
        }
        Expr::Test(node) => {
            let new = ast::Test {
                name: node.name,
                expr: expression(&node.expr),
                args: arguments(&node.args),
            };
            checked(Expr::Test(Spanned::new(new, node.span())))
        }
        Expr::GetAttr(node) => {
            let new = ast::GetAttr { expr: expression(&node.expr), name: node.name };
            Expr::GetAttr(Spanned::new(new, node.span()))
        }
        Expr::GetItem(node) => {
            let new = ast::GetItem {
                expr: expression(&node.expr),
                subscript_expr: expression(&node.subscript_expr),
            };
            Expr::GetItem(Spanned::new(new, node.span()))
        }
        Expr::Call(node) => checked(Expr::Call(called(node))),
        Expr::List(node) => {
            let items = node.items.iter().map(expression).collect();
            checked(Expr::List(Spanned::new(ast::List { items }, node.span())))
        }
        Expr::Map(node) => {
            let new = ast::Map {
                keys: node.keys.iter().map(expression).collect(),
                values: node.values.iter().map(expression).collect(),
            };
            checked(Expr::Map(Spanned::new(new, node.span())))
        }
    }
}

/// `~` and `*` become filters, which check before they make; what makes a sum at most is checked
/// after. The others make numbers, or one of their operands.
fn operator<'a>(node: &Spanned<ast::BinOp<'a>>) -> Expr<'a> {
    let (left, right) = (expression(&node.left), expression(&node.right));
    let (op, span) = (node.op, node.span());
    match op {
        BinOpKind::Concat => filtered("concat", Some(left), vec![CallArg::Pos(right)], span),
        BinOpKind::Mul => filtered("times", Some(left), vec![CallArg::Pos(right)], span),
        BinOpKind::ScAnd
        | BinOpKind::ScOr
        | BinOpKind::Sub
        | BinOpKind::Div
        | BinOpKind::FloorDiv
        | BinOpKind::Rem
        | BinOpKind::Pow => Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, span)),
        BinOpKind::Add
        | BinOpKind::Eq
        | BinOpKind::Ne
        | BinOpKind::Lt
        | BinOpKind::Lte
        | BinOpKind::Gt
        | BinOpKind::Gte
        | BinOpKind::In => checked(Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, span))),
    }
}

fn called<'a>(node: &Spanned<ast::Call<'a>>) -> Spanned<ast::Call<'a>> {
    let new = ast::Call { expr: expression(&node.expr), args: arguments(&node.args) };
    Spanned::new(new, node.span())
}

fn arguments<'a>(arguments: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let new = arguments.iter().map(|argument| match argument {
        CallArg::Pos(value) => CallArg::Pos(expression(value)),
        CallArg::Kwarg(name, value) => CallArg::Kwarg(name, expression(value)),
        CallArg::PosSplat(value) => CallArg::PosSplat(expression(value)),
        CallArg::KwargSplat(value) => CallArg::KwargSplat(expression(value)),
    });
    new.collect()
}

fn checked(expr: Expr<'_>) -> Expr<'_> {
    let span = expr.span();
    filtered("made", Some(expr), Vec::new(), span)
}

fn filtered<'a>(
    name: &'a str,
    expr: Option<Expr<'a>>,
    args: Vec<CallArg<'a>>,
    span: Span,
) -> Expr<'a> {
    Expr::Filter(Spanned::new(ast::Filter { name, expr, args }, span))
}
