//! How long clients wait for one of `servers`: a closed queue, whose clients ask, are served and pause. With many clients that
//! pause long it is the open queue of Erlang's formula.
//!
//! For exponential times the states' probabilities are exact. Others are scaled as Allen and Cunneen do: what waits are more than
//! the least they can be with so many clients comes from randomness, and goes with (Ca² + Cs²) / 2.

/// Clients beyond these change nothing any more but the time it takes to compute.
const CLIENTS_MAX: usize = 5_000;

/// What clients ask of a pool. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Clients that ask, one transaction after the other.
    pub clients: usize,
    /// What a client pauses between the end of a transaction and asking for the next, on average.
    pub pause: f64,
    /// How long a transaction holds its server, on average.
    pub service: f64,
    /// (Ca² + Cs²) / 2: 1 for random arrivals and exponential times, more where either comes in bursts.
    pub variability: f64,
}

/// What becomes of it with so many servers. Times are in seconds, over all transactions, those that don't wait included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Transactions a second.
    pub rate: f64,
    /// Servers busy, on average.
    pub busy: f64,
    /// The share of transactions that wait.
    pub waiting: f64,
    /// The wait on average.
    pub mean: f64,
    /// What 99 of 100 waits don't exceed.
    pub p99: f64,
}

impl Demand {
    /// The demand that gives this rate, when clients wait that long; clients are at least as many as Little's law asks for.
    pub fn of(clients: usize, rate: f64, service: f64, wait: f64) -> Self {
        let within = rate * (service + wait);
        let clients = clients.max(within.ceil() as usize).max(1);
        // Fewer clients in the calculation, with the same rate.
        let clients = clients.min(CLIENTS_MAX.max(within.ceil() as usize));
        let pause = (clients as f64 / rate - service - wait).max(0.0);
        Self { clients, pause, service, variability: 1.0 }
    }

    /// Waits there must be with so many servers, if nothing were random.
    pub fn least_wait(&self, servers: usize) -> f64 {
        (self.clients as f64 * self.service / servers as f64 - self.service - self.pause).max(0.0)
    }

    /// What becomes of it.
    pub fn with(&self, servers: usize) -> Outcome {
        let (n, cycle) = (self.clients as f64, self.pause + self.service);
        if servers >= self.clients {
            let rate = n / cycle;
            return Outcome { rate, busy: rate * self.service, ..Outcome::default() };
        }
        let seen = self.seen_by_arrivals(servers);
        let least = self.least_wait(servers);
        // The closer the servers are to the clients, the less it matters how times are distributed.
        let variability = 1.0 + (self.variability - 1.0) * (1.0 - servers as f64 / n);
        let scaled = |exponential: f64| least.min(exponential) + (exponential - least).max(0.0) * variability;
        let (mean, p99) = (scaled(seen.first), scaled(seen.p99()));
        let rate = (n / (cycle + mean)).min(servers as f64 / self.service);
        Outcome { rate, busy: rate * self.service, waiting: seen.waiting, mean, p99 }
    }

    /// The fewest servers with which the mean wait is at most `most`, and no more than there are clients.
    pub fn servers_for(&self, most: f64) -> usize {
        let (mut low, mut high) = (1, self.clients);
        while low < high {
            let middle = low.midpoint(high);
            if self.with(middle).mean <= most {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// A birth-death process: with n clients at the servers or before them, (clients − n) / pause come a second and
    /// min(n, servers) / service go. Weights are kept near 1 by dividing by the greatest so far.
    fn seen_by_arrivals(&self, servers: usize) -> Seen {
        let step = self.service / servers as f64;
        let pause = self.pause.max(self.service * 1e-9);
        let mut seen = Seen::default();
        let (mut weight, mut all) = (1.0_f64, 0.0);
        for n in 0..self.clients {
            // Whoever comes is one of those not here.
            let sees = weight * (self.clients - n) as f64;
            all += sees;
            if n >= servers {
                let ahead = (n - servers + 1) as f64;
                seen.waiting += sees;
                seen.first += sees * ahead * step;
                seen.second += sees * (ahead + ahead * ahead) * step * step;
            }
            weight *= (self.clients - n) as f64 * self.service / (pause * (n + 1).min(servers) as f64);
            if weight > 1e100 {
                for sum in [&mut weight, &mut all, &mut seen.waiting, &mut seen.first, &mut seen.second] {
                    *sum *= 1e-100;
                }
            }
        }
        Seen { waiting: seen.waiting / all, first: seen.first / all, second: seen.second / all }
    }
}

/// What an arriving client finds: how likely it waits, and the first two moments of the wait over all.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    waiting: f64,
    first: f64,
    second: f64,
}

impl Seen {
    /// Of the gamma distribution with these moments, by Wilson and Hilferty's approximation.
    fn p99(&self) -> f64 {
        if self.waiting <= 0.01 {
            return 0.0;
        }
        let (mean, second) = (self.first / self.waiting, self.second / self.waiting);
        let ninth = ((second / (mean * mean) - 1.0).max(1e-6)) / 9.0;
        let z = normal_tail(0.01 / self.waiting);
        mean * (1.0 - ninth + z * ninth.sqrt()).max(0.0).powi(3)
    }
}

/// The point beyond which a standard normal variable lies with this probability (Abramowitz and Stegun 26.2.23: ± 0.00045).
fn normal_tail(probability: f64) -> f64 {
    if probability > 0.5 {
        return -normal_tail(1.0 - probability);
    }
    let t = (-2.0 * probability.max(1e-300).ln()).sqrt();
    t - (2.515_517 + t * (0.802_853 + t * 0.010_328))
        / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}
