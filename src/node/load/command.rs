//! The command line of the load generator.

mod values;

use std::{
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use clap::Args;
use rustls::pki_types::ServerName;

use self::values::{Ramp, Target, algorithm, count, duration, plmn, rate, sockets, threads};
use super::{
    Ended, Job, LoadError, Workload,
    arrival::{Plan, Spread},
    asker::Inquiry,
    channel::Secured,
    cx::Roles,
    deploy::{Deployed, Storage, Wanted},
    provision::{self, Kind},
    report::{Report, to_json, to_page, to_table},
    request::Contact,
    run,
    subscribers::{Generated, Subscribers},
    threshold::Threshold,
};
use crate::{
    aka::digest::Algorithm,
    api::{connection_details::Location, migration_identity::Direction},
    diameter::local::DiameterIdentity,
    identity::Plmn,
    node::{
        client::ManagementClient,
        http_client::Endpoint,
        provision::{TEST_PLMN, prepare_migration},
        tls::Trust,
    },
    outbox::Transport,
};

/// How much load, on whom, and what to make of it.
#[derive(Debug, Args)]
#[command(after_help = SHORT, after_long_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct LoadCommand {
    /// What the UEs do.
    #[arg(value_name = "WORKLOAD")]
    workload: Workload,
    /// The registrar, such as udp:127.0.0.1:5060, tcp:pcscf.example:5060 or, with --ca, tls:pcscf.example:5061. Of cx
    /// the HSS, such as tcp:hss.example:3868 or tls:hss.example:5658.
    #[arg(long, value_name = "TRANSPORT:HOST:PORT", required_unless_present_any = ["deploy", "system"])]
    target: Option<Target>,
    /// Start a system for the run, on other cores than the generator's, with all subscribers in it.
    #[arg(long, value_name = "STORAGE", num_args = 0..=1, default_missing_value = "memory", conflicts_with = "target")]
    deploy: Option<Storage>,
    /// With --deploy: speak to it over TCP.
    #[arg(long, requires = "deploy")]
    tcp: bool,
    /// With --deploy: speak to it over TLS; two systems speak TLS with each other, too.
    #[arg(long, requires = "deploy", conflicts_with = "tcp")]
    tls: bool,
    /// Over TLS: the certificate to show, PEM. Diameter needs one that has the Origin-Host of each thread.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "deploy")]
    certificate: Option<PathBuf>,
    /// Over TLS: its key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,

    /// Subscribers from a file: a table as `migcore provision load` takes it, or an injection file of SIPp.
    #[arg(long, value_name = "FILE", help_heading = "Subscribers")]
    from: Option<PathBuf>,
    /// Generate so many subscribers load-N@DOMAIN; their keys follow from --key-seed.
    #[arg(long, value_name = "N", default_value_t = 10_000, conflicts_with = "from", help_heading = "Subscribers",
          value_parser = count)]
    subscribers: usize,
    /// The domain of generated subscribers.
    #[arg(
        long,
        value_name = "DOMAIN",
        default_value = "a.example",
        conflicts_with = "from",
        help_heading = "Subscribers"
    )]
    domain: String,
    /// What the keys of generated subscribers are derived from.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        conflicts_with = "from",
        help_heading = "Subscribers"
    )]
    key_seed: u64,
    /// Of identities: the management interface of the system that lends.
    #[arg(long, value_name = "URL", conflicts_with_all = ["deploy", "target"], help_heading = "Subscribers")]
    system: Option<Endpoint>,
    /// Of migrate: CSC-4 of the home system, where UEs ask for connection details.
    #[arg(long, value_name = "URL", conflicts_with = "deploy", help_heading = "Subscribers")]
    csc4: Option<Endpoint>,
    /// Of migrate, with --provision: the management interface of the partner, to make pools, agreements and the UE
    /// configuration where they are missing.
    #[arg(long, value_name = "URL", requires = "provision", help_heading = "Subscribers")]
    partner: Option<Endpoint>,
    /// Of migrate: the PLMN where the UEs are.
    #[arg(long, value_name = "PLMN", default_value = TEST_PLMN, value_parser = plmn, help_heading = "Subscribers")]
    plmn: Plmn,
    /// Put the subscribers into a running system first, by its management interface.
    #[arg(long, value_name = "URL", conflicts_with = "deploy", help_heading = "Subscribers")]
    provision: Option<Endpoint>,
    /// Write the subscribers as a table, for another system, and do nothing else.
    #[arg(long, value_name = "FILE", help_heading = "Subscribers")]
    write: Option<PathBuf>,

    /// Registrations a second, whatever the answers do (open loop).
    #[arg(long, value_name = "N", default_value_t = 100.0, value_parser = rate, help_heading = "Arrival")]
    rate: f64,
    /// A rate that changes, such as 100..5000/60s; then it stays.
    #[arg(long, value_name = "FROM..TO/TIME", conflicts_with_all = ["rate", "concurrency", "search"], help_heading = "Arrival")]
    ramp: Option<Ramp>,
    /// So many registrations at a time, each begun when one ends (closed loop).
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "search"], value_parser = count, help_heading = "Arrival")]
    concurrency: Option<usize>,
    /// Search for the highest rate that breaks no --fail-if, from --rate on, --duration each.
    #[arg(long, help_heading = "Arrival")]
    search: bool,
    /// How arrivals at a rate are spread.
    #[arg(long, value_name = "HOW", default_value = "poisson", help_heading = "Arrival")]
    arrivals: Spread,
    /// How long registrations begin.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Arrival")]
    duration: Duration,
    /// Begin no more registrations than this.
    #[arg(long, value_name = "N", help_heading = "Arrival")]
    count: Option<u64>,
    /// In what time all UEs of a storm come; --duration bounds how long they try.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, help_heading = "Arrival")]
    spread: Duration,
    /// Repeats the arrivals of another run.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Arrival")]
    seed: u64,

    /// Registration period to ask for, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, help_heading = "UEs")]
    expires: u32,
    /// What the contact of a UE has behind its user, instead of our own address. With the same one in each run a user
    /// keeps one contact, where each run otherwise adds one that lasts until it expires.
    #[arg(long, value_name = "HOST:PORT", help_heading = "UEs")]
    contact: Option<Contact>,
    /// The algorithm to ask for: AKAv1-MD5, AKAv2-MD5 or AKAv2-SHA-256. Without it the registrar chooses.
    #[arg(long, value_name = "NAME", value_parser = algorithm, help_heading = "UEs")]
    algorithm: Option<Algorithm>,
    /// Bits of SQN that are IND, as in the HSS.
    #[arg(long, value_name = "BITS", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=8), help_heading = "UEs")]
    ind_bits: u8,
    /// Estimated round-trip time T1: requests are sent again after it, twice it, ... and given up after 64 of it.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration, help_heading = "UEs")]
    t1: Duration,

    /// Of cx: our Origin-Host; default load.DOMAIN. Threads beyond the first put their number and a dot before it.
    #[arg(long, value_name = "FQDN", help_heading = "Diameter")]
    origin_host: Option<DiameterIdentity>,
    /// Of cx: our Origin-Realm; default DOMAIN.
    #[arg(long, value_name = "FQDN", help_heading = "Diameter")]
    origin_realm: Option<DiameterIdentity>,
    /// Of cx: the Diameter identity of the HSS; default sipdb.DOMAIN.
    #[arg(long, value_name = "FQDN", help_heading = "Diameter")]
    destination_host: Option<DiameterIdentity>,
    /// Of cx: its realm; default DOMAIN.
    #[arg(long, value_name = "FQDN", help_heading = "Diameter")]
    destination_realm: Option<DiameterIdentity>,
    /// Of cx: the SIP URI of the S-CSCF that asks; default sip:load.DOMAIN.
    #[arg(long, value_name = "URI", help_heading = "Diameter")]
    server_name: Option<String>,

    /// Threads of the generator, one a core. Default: as many as --cores names, else 1.
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Generator")]
    threads: Option<usize>,
    /// Cores for the threads of the generator, such as 2,3; with --deploy the system has the others.
    #[arg(long, value_name = "CORES", value_delimiter = ',', help_heading = "Generator")]
    cores: Vec<usize>,
    /// UDP sockets of each thread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = sockets, help_heading = "Generator")]
    sockets: usize,

    /// End with 3 if this is true of the run, such as p99>20ms, challenge.p50>1ms, failures>0.1%, rate<1000,
    /// retransmissions>1%. May be repeated. With --search what a rate has to keep to; default p99>20ms and
    /// failures>0.1%.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Report")]
    fail_if: Vec<Threshold>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    json: Option<PathBuf>,
    /// Write the report as one HTML page with plots.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    html: Option<PathBuf>,
    /// No progress.
    #[arg(long, help_heading = "Report")]
    quiet: bool,
}

const SHORT: &str = "Exit codes: 0 done; 1 failed, or nothing succeeded; 2 wrong arguments or files; 3 a --fail-if \
is true; 4 INVALID, the generator itself is seen in the figures. --help has examples.";

const EXAMPLES: &str = r"A first look, nothing else needed: a system on one core, the generator on another one.

  migcore load register --deploy --rate 2000 --html report.html

The same over TLS, with certificates that are made for the run:

  migcore load register --deploy --tls --rate 500

How much does it take? The highest rate with p99 below 20 ms and failures below 0.1 %:

  migcore load register --deploy --search --rate 1000 --duration 5s

A system that runs: put generated subscribers into it, then load it.

  migcore load register --target udp:127.0.0.1:5060 --provision http://127.0.0.1:8080 --rate 500

Any other registrar with IMS-AKA, such as Kamailio as S-CSCF: write the subscribers down, put them into its HSS.

  migcore load register --target udp:192.0.2.7:6060 --domain ims.example --write users.csv
  migcore load register --target udp:192.0.2.7:6060 --from users.csv --ramp 10..500/60s --duration 90s

In CI: a pass or a fail, and why.

  migcore load register --target udp:127.0.0.1:5060 --from users.csv --rate 200 --json run.json \
      --fail-if 'p99>20ms' --fail-if 'failures>0.1%' --fail-if 'rate<190'

After a restart everybody comes at once; a 503 with Retry-After is obeyed until all are registered:

  migcore load storm --deploy --subscribers 20000 --spread 1s --duration 60s

All 25 steps, between two systems that are started for it:

  migcore load migrate --deploy --subscribers 5000 --rate 200 --duration 20s --html migrate.html

Identity allocation alone, and vectors alone from any HSS:

  migcore load identities --deploy --rate 500
  migcore load cx --target tcp:192.0.2.9:3868 --from users.csv --origin-host scscf.ims.example --rate 1000

What is measured. A registration is a REGISTER, its 401 (challenge), a REGISTER with the response of the ISIM, its
200. Latency counts from the time when the first REGISTER was to leave: if the generator or the registrar stalls,
whoever had to wait for it is counted with the time waited. Requests over UDP are sent again by RFC 3261 (T1, T2,
Timer F). In a closed loop a slow registrar is asked less often, so that its latencies look better than users
would find them: prefer --rate.

The verdict. A run is INVALID, exit code 4, if the generator was late (a tenth of the reported p99 is its own), began
less than was due, had no idle UE, lost datagrams, computed for more than 95 % of the time, or waited for its
core for more than 20 %. The report says which, and what to do. A search tries a rate again at which the generator
could not tell, and is INVALID if it ends there. On the loopback interface a capture shows requests of the same
length that left together as one datagram: the kernel takes them apart when they arrive (UDP GSO).

Files for --from: a table with the columns impi, impu, k and op or opc (more columns are ignored), or what SIPp
takes: user;user part;domain;[authentication username=.. aka_K=0x.. aka_OP=0x.. aka_AMF=0x..].

Exit codes: 0 done; 1 failed, or nothing succeeded; 2 wrong arguments or files; 3 a --fail-if is true; 4 INVALID.";

impl LoadCommand {
    /// Runs the load, until `end` at most, and shows the report.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if there is no report.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<Ended, LoadError> {
        let subscribers = Arc::new(self.subscribers()?);
        if let Some(path) = &self.write {
            provision::write(&subscribers, path)?;
            return Ok(Ended::Well);
        }
        let threads = self.threads.unwrap_or(self.cores.len().max(1));
        let (own, others) = self.divide_cores(threads);
        let deployed = match self.deploy {
            Some(storage) => {
                let domain = subscribers.domain_of_all()?;
                let wanted = Wanted { domain, storage, cores: &others, over_tls: self.tls };
                let deployed = if self.workload == Workload::Migrate {
                    Deployed::start_two(&wanted)?
                } else {
                    let clients = if self.workload == Workload::Cx { threads } else { 0 };
                    Deployed::start(&wanted, clients)?
                };
                deployed.ready().await?;
                Some(deployed)
            }
            None => None,
        };
        self.provision(&subscribers, deployed.as_ref()).await?;
        let job = self.job(&subscribers, deployed.as_ref(), threads, own)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (quiet, thread_stop) = (self.quiet, Arc::clone(&stop));
        let measure = tokio::task::spawn_blocking(move || {
            run::run(&job, &subscribers, deployed.as_ref(), thread_stop, quiet)
        });
        let mut measure = pin!(measure);
        let report = tokio::select! {
            report = &mut measure => report,
            () = end => {
                stop.store(true, Ordering::Relaxed);
                measure.await
            }
        };
        let report = report.map_err(|error| LoadError::Thread(error.to_string()))??;
        self.show(&report)
    }

    fn migrates(&self) -> bool {
        self.workload == Workload::Migrate
    }

    /// Puts the subscribers where they are to be known.
    async fn provision(
        &self,
        subscribers: &Subscribers,
        deployed: Option<&Deployed>,
    ) -> Result<(), LoadError> {
        let managed: Vec<String> = match deployed {
            Some(deployed) => deployed.management().collect(),
            None => self.provision.iter().chain(&self.partner).map(ToString::to_string).collect(),
        };
        let Some(home) = managed.first() else { return Ok(()) };
        if self.workload == Workload::Identities {
            let client = ManagementClient::new(home);
            let domain = subscribers.domain_of_all()?;
            client.ensure_generated_pool("inbound", Direction::Inbound, "mig-{id}", domain).await?;
            return Ok(());
        }
        provision::put(Kind::Subscribers, subscribers, home, self.quiet).await?;
        if self.migrates() {
            provision::put(Kind::Users, subscribers, home, self.quiet).await?;
            if let Some(partner) = managed.get(1) {
                let core =
                    deployed.map(Deployed::target).or(self.target.map(|target| target.address));
                let [home, partner] = [home, partner].map(|url| ManagementClient::new(url));
                prepare_migration(&home, &partner, core).await?;
            }
        }
        Ok(())
    }

    /// Whom to ask.
    fn target(&self, deployed: Option<&Deployed>) -> Result<Target, LoadError> {
        let transport = match (self.tls, self.tcp) {
            (true, _) => Transport::Tls,
            (false, true) => Transport::Tcp,
            (false, false) => Transport::Udp,
        };
        match (deployed, self.target, self.workload) {
            (Some(deployed), _, Workload::Cx) => {
                let transport = if self.tls { Transport::Tls } else { Transport::Tcp };
                Ok(Target { transport, address: deployed.diameter() })
            }
            (Some(deployed), ..) => Ok(Target { transport, address: deployed.target() }),
            (None, Some(target), _) => Ok(target),
            // It is told by its URL.
            (None, None, Workload::Identities) => {
                Ok(Target { transport, address: SocketAddr::from(([0, 0, 0, 0], 0)) })
            }
            (None, None, _) => {
                let why = "name the registrar, or start one with --deploy".to_owned();
                Err(LoadError::Argument { argument: "--target", why })
            }
        }
    }

    /// Whom to believe over TLS: whoever has a certificate for the domain of the UEs, or for the host of the HSS, by the
    /// authority of `--ca`, or of what was started.
    fn secured(
        &self,
        target: Target,
        subscribers: &Subscribers,
        deployed: Option<&Deployed>,
    ) -> Result<Option<Secured>, LoadError> {
        if target.transport != Transport::Tls {
            return Ok(None);
        }
        let wrong = |why: String| LoadError::Argument { argument: "--target", why };
        let name = match (self.workload, deployed) {
            (Workload::Cx, _) => self.cx_roles(subscribers)?.destination_host.to_string(),
            (_, Some(deployed)) => deployed.registrar_domain().to_owned(),
            (_, None) => subscribers.domain_of_all()?.to_owned(),
        };
        let server = ServerName::try_from(name.clone());
        let name = server.map_err(|_| wrong(format!("no certificate can be for {name}")))?;
        let trust = match (deployed, self.workload, &self.certificate, &self.key) {
            (Some(deployed), Workload::Cx, ..) => deployed.trust_of_core()?,
            (Some(deployed), ..) => {
                let [_, registrar] = deployed.trust_of_ues()?;
                registrar
            }
            (None, _, Some(certificate), Some(key)) => {
                Trust::of_commands_showing(certificate, key)?
            }
            (None, ..) => Trust::default(),
        };
        Ok(Some(Secured { trust, name }))
    }

    /// Where pairs are lent.
    fn allocates_at(&self, deployed: Option<&Deployed>) -> Result<Option<Endpoint>, LoadError> {
        if self.workload != Workload::Identities {
            return Ok(None);
        }
        let deployed = deployed.and_then(|deployed| deployed.management().next()?.parse().ok());
        let server = deployed.or_else(|| self.system.clone());
        let why = || "name the management interface, or start a system with --deploy".to_owned();
        server.map(Some).ok_or_else(|| LoadError::Argument { argument: "--system", why: why() })
    }

    /// Who asks whom for vectors.
    fn cx_roles(&self, subscribers: &Subscribers) -> Result<Roles, LoadError> {
        let domain = subscribers.domain_of_all()?;
        let named = |given: &Option<DiameterIdentity>, usual: &str| match given {
            Some(given) => Ok(given.clone()),
            None => DiameterIdentity::parse(usual).map_err(|error| LoadError::Argument {
                argument: "--domain",
                why: format!("{usual} {error}"),
            }),
        };
        Ok(Roles {
            origin_host: named(&self.origin_host, &format!("load.{domain}"))?,
            origin_realm: named(&self.origin_realm, domain)?,
            destination_host: named(&self.destination_host, &format!("sipdb.{domain}"))?,
            destination_realm: named(&self.destination_realm, domain)?,
            server_name: self.server_name.clone().unwrap_or_else(|| format!("sip:load.{domain}")),
        })
    }

    /// Whom UEs that migrate ask.
    fn inquiry(&self, deployed: Option<&Deployed>) -> Result<Option<Inquiry>, LoadError> {
        if !self.migrates() {
            return Ok(None);
        }
        let wrong = |why: &str| LoadError::Argument { argument: "--csc4", why: why.to_owned() };
        let server = match deployed {
            Some(deployed) => deployed.csc4().parse().map_err(|_| wrong("is no URL"))?,
            None => self
                .csc4
                .clone()
                .ok_or_else(|| wrong("name CSC-4 of the home system, or --deploy"))?,
        };
        if self.concurrency.is_some() || self.search {
            let why = "not with migrate, where each UE comes once; use --rate or --ramp".to_owned();
            return Err(LoadError::Argument { argument: "--concurrency, --search", why });
        }
        let location = Location { plmn: self.plmn.clone(), tracking_area: None, cell: None };
        let trust = match deployed {
            Some(deployed) => {
                let [home, _] = deployed.trust_of_ues()?;
                home
            }
            None => Trust::default(),
        };
        Ok(Some(Inquiry { server, trust, location }))
    }

    fn subscribers(&self) -> Result<Subscribers, LoadError> {
        Ok(match &self.from {
            Some(path) => Subscribers::read(path)?,
            None => Subscribers::generate(&Generated {
                count: self.subscribers,
                seed: self.key_seed,
                domain: self.domain.clone(),
            })?,
        })
    }

    /// The cores of the generator, and those of a system that is deployed: the generator has the last ones.
    fn divide_cores(&self, threads: usize) -> (Vec<usize>, Vec<usize>) {
        let all = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if !self.cores.is_empty() {
            let others = (0..all).filter(|core| !self.cores.contains(core)).collect();
            return (self.cores.clone(), others);
        }
        if self.deploy.is_none() || all <= threads {
            return (Vec::new(), Vec::new());
        }
        ((all - threads..all).collect(), (0..all - threads).collect())
    }

    fn job(
        &self,
        subscribers: &Subscribers,
        deployed: Option<&Deployed>,
        threads: usize,
        cores: Vec<usize>,
    ) -> Result<Job, LoadError> {
        let target = self.target(deployed)?;
        let spread = self.arrivals;
        let plan = match (self.ramp, self.concurrency) {
            (Some(Ramp { from, to, time }), _) => Plan::Open { from, to, ramp: time, spread },
            (None, Some(concurrency)) => Plan::Closed { concurrency },
            (None, None) => Plan::steady(self.rate, spread),
        };
        let mut thresholds = self.fail_if.clone();
        if self.search && thresholds.is_empty() {
            thresholds
                .extend(["p99>20ms", "failures>0.1%"].iter().filter_map(|text| text.parse().ok()));
        }
        Ok(Job {
            workload: self.workload,
            target: target.address,
            transport: target.transport,
            tls: self.secured(target, subscribers, deployed)?,
            plan,
            spread: self.spread,
            duration: self.duration,
            count: self.count.unwrap_or(u64::MAX),
            search: self.search.then_some((self.rate, spread)),
            seed: self.seed,
            threads,
            cores,
            sockets: self.sockets,
            expires: self.expires,
            contact: self.contact.clone(),
            algorithm: self.algorithm,
            ind_bits: self.ind_bits,
            t1: self.t1,
            thresholds,
            inquiry: self.inquiry(deployed)?,
            cx: (self.workload == Workload::Cx).then(|| self.cx_roles(subscribers)).transpose()?,
            allocates_at: self.allocates_at(deployed)?,
        })
    }

    fn show(&self, report: &Report) -> Result<Ended, LoadError> {
        io::stdout().write_all(to_table(report).as_bytes()).map_err(LoadError::Show)?;
        if let Some(path) = &self.json {
            write_file(path, &format!("{:#}\n", to_json(report)))?;
        }
        if let Some(path) = &self.html {
            write_file(path, &to_page(report))?;
        }
        Ok(if !report.is_valid() {
            Ended::Invalid
        } else if report.is_broken() {
            Ended::Broken
        } else if report.facts.counts.succeeded == 0 {
            Ended::NothingSucceeded
        } else {
            Ended::Well
        })
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), LoadError> {
    std::fs::write(path, text).map_err(|error| LoadError::Write { path: path.to_owned(), error })
}
