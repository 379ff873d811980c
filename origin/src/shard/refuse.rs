//! Refuse: whoever waits for what cannot be done hears of it, once and in order.

use couplet_proto::slot::Slot;
use couplet_proto::xmpp::error::Condition;

use super::debts::Creditor;
use super::event::Work;
use super::output::Output;
use super::residents::Resident;
use super::state::Shard;
use super::work::Cause;

// === impl Shard ===

impl Shard {
    /// Tells whoever waits for `work` that it cannot be done.
    pub(super) fn fail(&mut self, resident: &mut Resident, work: Work, condition: Condition) {
        let cause = Cause::of(&work);
        self.refuse(resident, &cause, condition);
        if let Work::Admin(request) = work {
            let error = crate::admin::Error::Store("the account cannot be read".to_owned());
            let _ = request.reply.send(Err(error));
        }
    }

    /// Whoever waits for what has failed before it was begun has an error instead.
    pub(super) fn refuse(&mut self, resident: &mut Resident, cause: &Cause, condition: Condition) {
        let creditor = match cause {
            Cause::Client(session, number, _) => {
                self.account_for(resident, *session, *number);
                Some(Creditor::Session(*session, *number))
            }
            Cause::Routed(_, _, receipt) | Cause::Fanned(receipt) => {
                Some(Creditor::Route(*receipt))
            }
            Cause::Request(_, Some(debt)) => self.debts.close(*debt),
            _ => None,
        };
        let told = cause.failure(resident, self, condition);
        self.tell_instead(resident.slot, told, creditor);
    }

    /// Sends errors. Whoever waits for what has failed waits until they have arrived.
    pub(super) fn tell_instead(
        &mut self,
        slot: Slot,
        errors: Vec<Output>,
        creditor: Option<Creditor>,
    ) {
        let debt = creditor.map(|creditor| self.debts.open(slot, creditor, None));
        for mut error in errors {
            if let Output::Send(.., owed) = &mut error {
                self.owe(debt);
                *owed = debt;
            }
            self.release_plain(slot, error);
        }
        if let Some(debt) = debt {
            self.emit(Output::Pay(debt));
        }
    }

    /// Releases an output that needs no account but may need its slot.
    pub(super) fn release_plain(&mut self, slot: Slot, output: Output) {
        match output {
            Output::Send(stanza, entered, source, debt) => {
                self.send(slot, stanza, entered, source, debt);
            }
            other => self.emit(other),
        }
    }
}
