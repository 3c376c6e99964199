//! Text to nodes. Pure; depth is bounded by [`DEPTH_MAX`].

/// Deepest nesting of blocks and parentheses.
const DEPTH_MAX: usize = 64;

/// A piece of a template.
#[derive(Debug)]
pub enum Node {
    /// Text as it stands.
    Text(String),
    /// Prints the value of a pipeline.
    Print(Expr),
    /// `{{$name := pipeline}}`.
    Assign(String, Expr),
    /// `{{if}}`: condition, then, else.
    If(Expr, Vec<Node>, Vec<Node>),
    /// `{{with}}`: value, body with the dot set to it, else.
    With(Expr, Vec<Node>, Vec<Node>),
    /// `{{range $key, $value := list}}`: names, list, body, else.
    Range(Option<String>, Option<String>, Expr, Vec<Node>, Vec<Node>),
}

/// A value to be computed.
#[derive(Debug, Clone)]
pub enum Expr {
    /// The dot.
    Dot,
    /// A string, number or boolean.
    Literal(serde_json::Value),
    /// `$name`; empty for `$`.
    Variable(String),
    /// A field of a value.
    Field(Box<Expr>, String),
    /// A pipeline in parentheses: a finished value, never a function that waits for arguments.
    Group(Box<Expr>),
    /// A function and its arguments.
    Call(String, Vec<Expr>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// `.A.B` on the dot: the names joined by dots.
    Field(String),
    /// `.A.B` right after a variable or a parenthesis.
    Chain(String),
    Variable(String),
    Text(String),
    Number(serde_json::Number),
    Dot,
    Open,
    Close,
    Pipe,
    Comma,
    Assign,
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Parses a whole template.
pub fn parse(text: &str) -> Result<Vec<Node>, String> {
    let pieces = split(text)?;
    let mut parser = Blocks { pieces: pieces.into_iter(), depth: 0 };
    match parser.nodes()? {
        (nodes, Ended::Text) => Ok(nodes),
        _ => Err("`end` or `else` without a block before it".into()),
    }
}

/// Text and actions, with `{{-` and `-}}` trimming the text beside them and comments gone.
fn split(mut rest: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut trim = false;
    loop {
        let start = rest.find("{{");
        let mut text = &rest[..start.unwrap_or(rest.len())];
        if trim {
            text = text.trim_start();
        }
        let Some(start) = start else {
            pieces.push(Piece::Text(text.to_owned()));
            return Ok(pieces);
        };
        let mut inside = &rest[start + 2..];
        if inside.starts_with("- ") {
            text = text.trim_end();
            inside = &inside[1..];
        }
        pieces.push(Piece::Text(text.to_owned()));
        let end = action_end(inside).ok_or("`{{` without `}}`")?;
        let mut action = &inside[..end];
        trim = action.ends_with(" -");
        if trim {
            action = &action[..action.len() - 1];
        }
        rest = &inside[end + 2..];
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(action)?));
        }
    }
}

/// Where `}}` stands outside quotes.
fn action_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, b'"' | b'`') => quote = Some(bytes[at]),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let name_of = |text: &str| text.chars().take_while(|&c| is_name(c)).collect::<String>();
        let (token, length) = match first {
            ' ' | '\t' | '\n' => {
                rest = &rest[1..];
                continue;
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Assign, 2),
            '=' => (Token::Assign, 1),
            '"' => {
                let end = action_quote_end(rest).ok_or("a string without its closing quote")?;
                let text = serde_json::from_str::<String>(&rest[..=end]).map_err(|error| error.to_string())?;
                (Token::Text(text), end + 1)
            }
            '`' => {
                let end = rest[1..].find('`').ok_or("a raw string without its closing quote")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '.' => {
                let length =
                    1 + rest[1..].chars().take_while(|&c| is_name(c) || c == '.').map(char::len_utf8).sum::<usize>();
                let chained = rest.len() < text.len() && {
                    let before = text[..text.len() - rest.len()].chars().next_back();
                    before.is_some_and(|c| is_name(c) || c == ')' || c == '$')
                };
                let name = rest[1..length].to_owned();
                let token = match (name.is_empty(), chained) {
                    (true, _) => Token::Dot,
                    (false, true) => Token::Chain(name),
                    (false, false) => Token::Field(name),
                };
                (token, length)
            }
            '$' => {
                let name = name_of(&rest[1..]);
                let length = 1 + name.len();
                (Token::Variable(name), length)
            }
            '-' | '0'..='9' => {
                let length = 1 + rest[1..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').count();
                let number = rest[..length].parse().map_err(|_| format!("{:?} is not a number", &rest[..length]))?;
                (Token::Number(number), length)
            }
            _ if is_name(first) => {
                let name = name_of(rest);
                let length = name.len();
                (Token::Word(name), length)
            }
            _ => return Err(format!("unexpected {first:?}")),
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn action_quote_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

struct Blocks {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
}

/// What ended a run of nodes.
enum Ended {
    Text,
    End,
    Else,
    /// `{{else if …}}` and the like: an inner block that the same `end` closes.
    ElseBlock(String, Vec<Token>),
}

impl Blocks {
    fn nodes(&mut self) -> Result<(Vec<Node>, Ended), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            match tokens.as_slice() {
                [Token::Word(word)] if word == "end" => return Ok((nodes, Ended::End)),
                [Token::Word(word)] if word == "else" => return Ok((nodes, Ended::Else)),
                [Token::Word(word), Token::Word(inner), rest @ ..] if word == "else" => {
                    return Ok((nodes, Ended::ElseBlock(inner.clone(), rest.to_vec())));
                }
                [Token::Word(word), Token::Variable(name), Token::Assign, rest @ ..]
                    if word == "if" || word == "with" =>
                {
                    nodes.push(Node::Assign(name.clone(), pipeline(rest)?));
                    nodes.push(self.block(word, &[Token::Variable(name.clone())])?);
                }
                [Token::Word(word), rest @ ..] if ["if", "with", "range"].contains(&word.as_str()) => {
                    nodes.push(self.block(word, rest)?);
                }
                [Token::Variable(name), Token::Assign, rest @ ..] => {
                    nodes.push(Node::Assign(name.clone(), pipeline(rest)?));
                }
                tokens => nodes.push(Node::Print(pipeline(tokens)?)),
            }
        }
        Ok((nodes, Ended::Text))
    }

    /// The block that `word` opens, up to its `end`.
    fn block(&mut self, word: &str, head: &[Token]) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("blocks nested too deep".into());
        }
        let (body, ended) = self.nodes()?;
        let otherwise = match ended {
            Ended::End => Vec::new(),
            Ended::Else => match self.nodes()? {
                (nodes, Ended::End) => nodes,
                _ => return Err("`else` without `end`".into()),
            },
            Ended::ElseBlock(inner, head) => vec![self.block(&inner, &head)?],
            Ended::Text => return Err(format!("`{word}` without `end`")),
        };
        self.depth -= 1;
        match (word, head) {
            ("if", head) => Ok(Node::If(pipeline(head)?, body, otherwise)),
            ("with", head) => Ok(Node::With(pipeline(head)?, body, otherwise)),
            ("range", [Token::Variable(key), Token::Comma, Token::Variable(value), Token::Assign, list @ ..]) => {
                Ok(Node::Range(Some(key.clone()), Some(value.clone()), pipeline(list)?, body, otherwise))
            }
            ("range", [Token::Variable(value), Token::Assign, list @ ..]) => {
                Ok(Node::Range(None, Some(value.clone()), pipeline(list)?, body, otherwise))
            }
            ("range", list) => Ok(Node::Range(None, None, pipeline(list)?, body, otherwise)),
            _ => Err(format!("unexpected {word:?} after `else`")),
        }
    }
}

/// `a | f x | g`: each value becomes the last argument of the next call.
fn pipeline(tokens: &[Token]) -> Result<Expr, String> {
    let (expr, rest) = pipeline_until(tokens, 0)?;
    if rest.is_empty() { Ok(expr) } else { Err("unexpected `)`".into()) }
}

fn pipeline_until(mut tokens: &[Token], depth: usize) -> Result<(Expr, &[Token]), String> {
    if depth > DEPTH_MAX {
        return Err("parentheses nested too deep".into());
    }
    let mut value: Option<Expr> = None;
    loop {
        let (mut terms, rest) = terms(tokens, depth)?;
        if terms.is_empty() {
            return Err("a value is missing".into());
        }
        terms.extend(value.take());
        let mut terms = terms.into_iter();
        let first = terms.next().ok_or("a value is missing")?;
        let expr = match first {
            Expr::Call(name, mut arguments) if arguments.is_empty() => {
                arguments.extend(terms);
                Expr::Call(name, arguments)
            }
            first if terms.len() == 0 => first,
            _ => return Err("only a function takes arguments".into()),
        };
        match rest.first() {
            Some(Token::Pipe) => {
                value = Some(expr);
                tokens = &rest[1..];
            }
            _ => return Ok((expr, rest)),
        }
    }
}

/// The values up to a pipe, a closing parenthesis or the end.
fn terms(mut tokens: &[Token], depth: usize) -> Result<(Vec<Expr>, &[Token]), String> {
    let mut terms: Vec<Expr> = Vec::new();
    while let Some(token) = tokens.first() {
        let mut rest = &tokens[1..];
        let expr = match token {
            Token::Pipe | Token::Close => break,
            Token::Open => {
                let (inner, after) = pipeline_until(rest, depth + 1)?;
                if after.first() != Some(&Token::Close) {
                    return Err("`(` without `)`".into());
                }
                rest = &after[1..];
                Expr::Group(Box::new(inner))
            }
            Token::Dot => Expr::Dot,
            Token::Field(name) => field(Expr::Dot, name),
            Token::Chain(name) => field(terms.pop().ok_or("a field of nothing")?, name),
            Token::Variable(name) => Expr::Variable(name.clone()),
            Token::Text(text) => Expr::Literal(text.clone().into()),
            Token::Number(number) => Expr::Literal(serde_json::Value::Number(number.clone())),
            Token::Word(word) if word == "true" || word == "false" => Expr::Literal((word == "true").into()),
            Token::Word(word) if word == "nil" => Expr::Literal(serde_json::Value::Null),
            Token::Word(word) => Expr::Call(word.clone(), Vec::new()),
            Token::Comma | Token::Assign => return Err("unexpected `,` or `=`".into()),
        };
        terms.push(expr);
        tokens = rest;
    }
    Ok((terms, tokens))
}

/// The fields `names`, joined by dots, of `base`.
fn field(base: Expr, names: &str) -> Expr {
    names
        .split('.')
        .filter(|name| !name.is_empty())
        .fold(base, |base, name| Expr::Field(Box::new(base), name.to_owned()))
}
