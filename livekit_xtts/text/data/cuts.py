"""Where a text may be cut, per language."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Cuts:
    """What a segmenter needs to know of a language. Word lists are lower-case, space-separated.

    Attributes:
        never_end: Abbreviations (without their last full stop) that a word always follows.
        may_end: Abbreviations that can close a sentence; a known opener after them decides.
        before_number: Abbreviations only where a number follows ("No. 5"), else plain words.
        openers: Words that open a sentence; they settle doubt after an abbreviation or "2.".
        joints: Conjunctions and relative words; a pause may come before them.
        prepositions: Words that a phrase begins with; a lesser place to pause before.
        sticky: Words that belong to what follows; never cut after them.
        ordinal_dot: "3." means "third", also in mid-sentence.
        cased: Sentences begin with a capital letter.
        capital_nouns: Any noun has a capital, so a capital tells nothing.
        word_characters: Characters that count as one word where words are not spaced; 0 if spaced.
        after: Characters that a cut may follow in unspaced text.
        before: Characters that a cut may precede in unspaced text.
    """

    never_end: str = ""
    may_end: str = ""
    before_number: str = ""
    openers: str = ""
    joints: str = ""
    prepositions: str = ""
    sticky: str = ""
    ordinal_dot: bool = False
    cased: bool = True
    capital_nouns: bool = False
    word_characters: float = 0.0
    after: str = ""
    before: str = ""

    @cached_property
    def never_end_set(self) -> frozenset[str]:
        """`never_end` as a set."""
        return frozenset(self.never_end.split())

    @cached_property
    def may_end_set(self) -> frozenset[str]:
        """`may_end` as a set."""
        return frozenset(self.may_end.split())

    @cached_property
    def before_number_set(self) -> frozenset[str]:
        """`before_number` as a set."""
        return frozenset(self.before_number.split())

    @cached_property
    def openers_set(self) -> frozenset[str]:
        """`openers` as a set."""
        return frozenset(self.openers.split())

    @cached_property
    def joints_set(self) -> frozenset[str]:
        """`joints` as a set."""
        return frozenset(self.joints.split())

    @cached_property
    def prepositions_set(self) -> frozenset[str]:
        """`prepositions` as a set."""
        return frozenset(self.prepositions.split())

    @cached_property
    def sticky_set(self) -> frozenset[str]:
        """`sticky` as a set."""
        return frozenset(self.sticky.split())


CUTS: dict[str, Cuts] = {
    "en": Cuts(
        never_end="mr mrs ms messrs dr drs prof rev hon sgt capt cpt lt col gen maj cmdr adm gov"
        " sen rep pres supt fr sr st mt ft vs cf viz e.g i.e eg ie approx ca al ed eds trans"
        " dept univ assn tel ext fig figs eq ref refs",
        may_end="jr esq etc inc ltd co corp llc bros a.m p.m am pm u.s u.k u.n e.u d.c b.c a.d"
        " ph.d m.d b.a m.a ave blvd rd sq min max hr hrs sec oz lb lbs in cm km kg"
        " jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat sun",
        before_number="no nos op p pp vol ch art par para pt sect ver v",
        openers="the a an he she it we they i you this that these those there but and so or what"
        " how when where why who which if in on at as for from with after before my your his her"
        " our their its let please then now however yes no not do does did is are was were can"
        " could would will should have has one all some many most also maybe sorry thanks",
        joints="and but or so because that which who while when although though if where unless"
        " until since whether nor yet then",
        prepositions="in on at with for from to of by about into over after before between during"
        " through without within under near like as than",
        sticky="a an the this that these those my your his her its our their to of in on at with"
        " for from by about into over after before between during through without within under"
        " near like as than and but or so because which who while when although if where no not"
        " very more most less too is are was were be been am do does did has have had will would"
        " can could should may might must i you he she it we they every each some any one two mr"
        " mrs ms dr",
    ),
    "es": Cuts(
        never_end="sr sra srta sres dr dra prof profa lic ing arq d dña ud uds st sto sta gral cap"
        " cnel tte excmo excma aprox ej p.ej p vs tel ext av ee avda c/ dpto fig ref vol rte admón",
        may_end="etc a.m p.m ee.uu uu ltda s.a s.l cía co jr a.c d.c hnos ss.mm",
        before_number="núm nº n pág págs art cap vol",
        openers="el la los las un una yo tú él ella nosotros ellos esto eso este esta pero y si no"
        " sí cuando donde qué cómo por para en con después luego también entonces hay es son"
        " su mi nuestro gracias",
        joints="y e o u pero porque que cuando mientras aunque si donde pues sino como",
        prepositions="en con para por de desde hasta sobre sin entre según durante contra tras",
        sticky="el la los las un una unos unas de del al a en con para por sin sobre entre mi tu"
        " su mis tus sus nuestro nuestra y e o u que no muy más menos es son está están ha han se"
        " me te le lo les nos este esta ese esa cada",
    ),
    "fr": Cuts(
        never_end="m mm mme mmes mlle mlles mr dr pr prof me st ste mgr cap col gén lt cf p.ex ex"
        " env av bd bld éd tél réf fig vol c.-à-d",
        may_end="etc co cie ltd jr a.m p.m j.-c s.a s.a.r.l",
        before_number="no nos n p pp art chap vol al",
        openers="le la les un une des je tu il elle nous vous ils elles on ce cette ces mais et si"
        " non oui quand où que qui comment pourquoi dans sur pour avec après ensuite alors aussi"
        " c'est mon ma mes votre notre merci",
        joints="et ou mais car donc que qui quand lorsque pendant si où dont parce puisque comme",
        prepositions="dans sur pour avec par de chez vers sans sous entre depuis pendant avant"
        " après contre en à",
        sticky="le la les un une des du de d' l' au aux à en dans sur pour avec par sans sous mon"
        " ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette ces et ou mais"
        " que qui ne n' pas plus très est sont a ont je tu il elle nous vous ils elles on se",
    ),
    "de": Cuts(
        never_end="dr prof hr hrn fr frl herr st nr dipl ing mag med jur phil rer nat ca bzw ggf"
        " evtl inkl exkl zzgl vgl sog ugs z.b d.h u.a i.d.r o.ä v.a s.o s.u z.t u.u m.e geb gest"
        " verh max min tel abt art abs aufl bd bsp hrsg jg kap lt mind od str urspr zz vers bes"
        " allg ehem einschl entspr gegr gem insb resp usf v n i d z u",
        may_end="usw etc co jr uhr mio mrd tsd jh jhd chr st std sek a.d",
        before_number="s ziff pos anm fn kl",
        openers="der die das ein eine ich du er sie es wir ihr dies diese dieser dieses aber und"
        " oder wenn weil dann danach was wie wo wann warum wer ja nein nicht auch so im am in an"
        " auf für mit nach von zu bei mein meine ihre unser bitte danke man hier dort jetzt heute"
        " morgen gestern außerdem deshalb trotzdem alle viele jeder können kann möchten haben ist"
        " sind",
        joints="und oder aber denn weil dass wenn als während obwohl damit sondern ob bevor nachdem"
        " sodass falls wobei sowie",
        prepositions="in im an am auf mit für von vom aus bei beim nach zu zum zur über unter vor"
        " zwischen ohne gegen durch um bis seit wegen",
        sticky="der die das den dem des ein eine einen einem einer eines kein keine mein meine dein"
        " sein seine ihr ihre unser in im an am auf mit für von vom aus bei beim nach zu zum zur"
        " über unter vor ohne gegen durch um und oder aber dass weil wenn nicht sehr ist sind war"
        " hat haben wird werden kann ich du er sie es wir ihr man sich dieser diese dieses jeder",
        ordinal_dot=True,
        capital_nouns=True,
    ),
    "it": Cuts(
        never_end="sec sig sigg sig.ra sig.na sigra dott dott.ssa dr prof prof.ssa avv ing arch"
        " geom rag on st s es p.es cfr ca circa vs tel fig pag rif spett egr gent",
        may_end="ecc etc a.c d.c s.p.a s.r.l co ltd jr a.m p.m",
        before_number="n nr pag pagg art cap vol",
        openers="il lo la i gli le un una io tu lui lei noi voi loro questo questa ma e se no sì"
        " quando dove che come perché in per con dopo poi anche allora è sono mio nostro grazie",
        joints="e ed o ma perché che quando mentre se dove quindi però anche sebbene poiché",
        prepositions="in con per di da su tra fra senza sopra sotto durante verso dopo prima nel"
        " nella dal dalla sul sulla",
        sticky="il lo la i gli le un uno una di del dello della dei degli delle a al allo alla ai"
        " in nel nella nei con per da dal dalla su sul sulla tra fra e ed o ma che non più molto è"
        " sono ha hanno mi ti si ci vi mio mia tuo tua suo sua questo questa ogni",
    ),
    "pt": Cuts(
        never_end="sr sra srta srs dr dra prof profa eng arq d dª exmo exma st sto sta gen cap cel"
        " p.ex ex aprox vs tel ref fig av r dep",
        may_end="etc ltda cia co jr s.a a.c d.c a.m p.m eua",
        before_number="n nº núm pág págs art cap vol",
        openers="o a os as um uma eu tu ele ela nós eles você vocês isto isso este esta mas e se"
        " não sim quando onde que como porque em para com depois então também há é são meu nosso"
        " obrigado obrigada",
        joints="e ou mas porque que quando enquanto se onde pois embora então como",
        prepositions="em com para por de desde até sobre sem entre segundo durante contra após no"
        " na pelo pela",
        sticky="o a os as um uma uns umas de do da dos das ao à aos às em no na nos nas com para"
        " por pelo pela sem sobre e ou mas que não muito mais menos é são está estão se me te lhe"
        " meu minha seu sua nosso nossa este esta cada",
    ),
    "pl": Cuts(
        never_end="p pp pan dr prof mgr inż hab lek św ks gen płk kpt por al ul pl os np tzn tj tzw"
        " m.in ok ww wg zob por red tel im nt godz",
        may_end="itd itp r w br in n.e p.n.e jr zł gr mln mld tys sp s.a",
        before_number="nr str s art pkt poz rozdz t ust",
        openers="ja ty on ona ono my wy oni to ten ta te ale i a jeśli nie tak kiedy gdzie co jak"
        " dlaczego w na do po z potem też więc jest są mój nasz proszę dziękuję dzień",
        joints="i oraz lub albo ale bo że który która które gdy kiedy jeśli żeby więc ponieważ a"
        " choć czy aby",
        prepositions="w we na do od z ze po przez dla o bez przy pod nad między przed za u",
        sticky="w we na do od z ze po przez dla o bez przy pod nad przed za u i oraz lub ale że nie"
        " się jest są był była ten ta to te mój moja twój jego jej ich bardzo",
        ordinal_dot=True,
    ),
    "tr": Cuts(
        never_end="dr prof doç yrd av müh sn bay bn vb vs örn bkz tel cad sok mah apt alb gen org"
        " op uzm st yy",
        may_end="vb vd vs ltd şti a.ş t.c m.ö m.s co jr",
        before_number="no s sf md",
        openers="bu şu o ben sen biz siz onlar bir ama ve eğer evet hayır ne nasıl nerede neden kim"
        " sonra şimdi bugün yarın dün için çok lütfen teşekkürler",
        joints="ve veya ya ama fakat çünkü ki eğer ancak",
        prepositions="",
        sticky="bir bu şu o ve veya ya ama çok en daha her hiç",
        ordinal_dot=True,
    ),
    "ru": Cuts(
        never_end="dr mr mrs ms prof st"
        " г-н г-жа д-р проф акад им ул пр пл пер д кв стр корп т.е т.к т.н напр см ср ок"
        " св гр тов тел доц канд инж",
        may_end="г гг в вв др пр т.д т.п руб коп тыс млн млрд н.э чел мин сек ч",
        before_number="с п рис табл гл ст № т",
        openers="я ты он она оно мы вы они это этот эта но и а если не да нет когда где что как"
        " почему в на с по после потом также есть мой наш пожалуйста спасибо для у",
        joints="и или но а что который которая которое когда если чтобы потому так где хотя пока"
        " поэтому",
        prepositions="в во на с со по к ко от до из у за для о об без при под над между через перед"
        " после",
        sticky="в во на с со по к ко от до из у за для о об без при под над между через и или но а"
        " что не очень более этот эта это эти мой моя мои ваш его её их",
    ),
    "nl": Cuts(
        never_end="dhr mevr mw dr drs ir ing mr prof ds jhr st bijv bv d.w.z o.a m.b.t t/m ca nl"
        " incl excl evt resp vgl zgn i.p.v i.v.m t.a.v m.a.w a.u.b tel afd",
        may_end="enz etc jr co n.chr v.chr e.d e.v mln mld a.m p.m b.v n.v",
        before_number="nr blz p art hfst",
        openers="de het een ik jij je hij zij ze wij we jullie dit dat deze die maar en als nee ja"
        " wat hoe waar wanneer waarom wie in op voor met na van dan ook er is zijn mijn ons onze"
        " bedankt graag",
        joints="en of maar want omdat dat die als terwijl hoewel zodat toen waar wanneer",
        prepositions="in op aan met voor van naar bij uit over onder tussen zonder tegen door om"
        " tot sinds na",
        sticky="de het een in op aan met voor van naar bij uit over onder zonder door om tot na te"
        " en of maar dat die niet heel erg is zijn was heeft hebben wordt kan ik je jij hij ze zij"
        " we wij mijn jouw zijn haar ons onze deze dit elke",
    ),
    "cs": Cuts(
        never_end="p pí pan dr prof doc ing mgr bc mudr judr phdr rndr sv např tj tzn tzv cca mj ul"
        " nám tř tel resp popř srov viz",
        may_end="atd apod aj r st stol s.r.o a.s př.n.l n.l jr kč mil mld tis hod min",
        before_number="č čís str s odst čl obr",
        openers="já ty on ona ono my vy oni to ten ta ale a pokud když ne ano kde co jak proč kdo v"
        " na do po z potom také je jsou můj náš prosím děkuji",
        joints="a ale nebo protože že který která které když pokud aby jestli kde ani i",
        prepositions="v ve na do od z ze po přes pro o bez při pod nad mezi před za u k ke s se",
        sticky="v ve na do od z ze po přes pro o bez při pod nad před za u k ke s se a ale nebo že"
        " ne je jsou byl byla ten ta to můj moje velmi",
        ordinal_dot=True,
    ),
    "ar": Cuts(
        never_end="dr mr mrs ms prof st د أ م أ.د ص ت هـ ق",
        may_end="إلخ الخ ق.م",
        before_number="رقم ص",
        openers="",
        joints="و لكن لأن أو ثم حيث بينما عندما إذا الذي التي",
        prepositions="في من إلى على عن مع بعد قبل بين حتى خلال",
        sticky="في من إلى على عن مع بعد قبل بين حتى خلال أن إن لا لم لن ما هذا هذه ذلك كل يا",
        cased=False,
    ),
    "zh-cn": Cuts(
        never_end="dr mr mrs ms prof st",
        cased=False,
        word_characters=1.8,
        after="的了着过吗呢吧啊时候后前",
        before="但而因所如或并也都还就和与在我你您他她它这那把被让",
    ),
    "hu": Cuts(
        never_end="dr prof id ifj özv gr ún pl kb ill stb vö ti tel szt u utca sz",
        may_end="stb kft bt rt zrt nyrt co jr i.sz i.e",
        before_number="old o fej évf",
        openers="a az egy én te ő mi ti ők ez de és ha nem igen mikor hol mi hogyan miért ki azután"
        " most ma holnap tegnap van vannak köszönöm kérem",
        joints="és vagy de mert hogy aki ami amely amikor ha míg bár ezért",
        prepositions="",
        sticky="a az egy és vagy de hogy nem is igen nagyon ez azt ezt minden",
        ordinal_dot=True,
    ),
    "ko": Cuts(
        never_end="dr mr mrs ms prof st",
        cased=False,
        joints="그리고 하지만 그래서 그런데 또는 그러나 왜냐하면",
        sticky="이 그 저 한 두 세 네 이런 그런 안 못 더 가장 아주 매우",
    ),
    "ja": Cuts(
        never_end="dr mr mrs ms prof st",
        cased=False,
        word_characters=2.5,
        after="はがをにでともへ",
        before="",
    ),
    "hi": Cuts(
        never_end="dr mr mrs ms prof st डॉ श्री श्रीमती सुश्री प्रो पं स्व कु मो डा",
        may_end="आदि इत्यादि",
        before_number="सं क्र पृ",
        joints="और लेकिन या क्योंकि कि जो जब अगर तो परंतु इसलिए जबकि",
        sticky="एक यह वह ये वे और या कि बहुत हर मेरा मेरी मेरे आपका आपकी आपके इस उस नहीं",
        cased=False,
    ),
}

NAMES_WITH_MARKS = (
    "yahoo!", "jeopardy!", "panic!", "wham!", "mia!", "airplane!", "oliver!", "oklahoma!",
)  # fmt: skip
"""Names that end in a mark, lower-case."""
