//! Arguments: `--clients N`, `--seconds N`, and `--check` to leave when the load is over.

pub(crate) struct Options {
    pub(crate) clients: usize,
    pub(crate) seconds: u64,
    pub(crate) check: bool,
}

impl Options {
    pub(crate) fn from_arguments() -> Result<Self, String> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { clients: 200, seconds: 10, check: false };
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().unwrap_or_default();
                match value.parse::<u64>() {
                    Ok(number @ 1..=10_000) => Ok(number),
                    _ => Err(format!("{argument} takes a number from 1 to 10000, not {value:?}")),
                }
            };
            match argument.as_str() {
                "--clients" => options.clients = usize::try_from(number()?).expect("at most 10000"),
                "--seconds" => options.seconds = number()?,
                "--check" => options.check = true,
                _ => {
                    return Err(format!(
                        "unknown argument {argument:?}; there are --clients N, --seconds N, --check"
                    ));
                }
            }
        }
        Ok(options)
    }
}
