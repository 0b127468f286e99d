"""Parts of the scheduler: plans and their times (`plans`), the beam search (`beam`) and the tabu search (`tabu`)."""
