"""A day's work by SQLAlchemy, over psycopg2, psycopg and asyncpg: python sqlalchemy_work.py URL; prints ok."""
import asyncio
import sys
import threading
import uuid

from sqlalchemy import ForeignKey, String, create_engine, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

URL = sys.argv[1].removeprefix("postgresql://")
SUFFIX = uuid.uuid4().hex


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author_" + SUFFIX
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String, unique=True)
    tags: Mapped[list] = mapped_column(ARRAY(String), default=list)
    doc: Mapped[dict] = mapped_column(JSONB, default=dict)
    books: Mapped[list["Book"]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "book_" + SUFFIX
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    author: Mapped[Author] = relationship(back_populates="books")


def authors(prefix, count):
    return [
        Author(name=f"{prefix} {n}", tags=["a", "b"], doc={"n": n}, books=[Book(title=f"book {k}") for k in range(3)])
        for n in range(count)
    ]


def check(found, prefix, count):
    assert len(found) == count
    for author in found:
        assert author.tags == ["a", "b"] and author.name == f"{prefix} {author.doc['n']}"
        assert sorted(book.title for book in author.books) == ["book 0", "book 1", "book 2"]


def by_prefix(prefix):
    return select(Author).where(Author.name.like(prefix + " %")).options(selectinload(Author.books))


def synchronous(driver):
    engine = create_engine(f"postgresql+{driver}://{URL}", pool_size=12)
    Base.metadata.create_all(engine)
    failures = []

    def work(number):
        prefix = f"{driver} {number}"
        try:
            for _ in range(3):
                with Session(engine) as session:
                    session.add_all(authors(prefix, 10))
                    session.flush()
                    check(session.scalars(by_prefix(prefix)).all(), prefix, 10)
                    session.rollback()
            with Session(engine) as session, session.begin():
                session.add_all(authors(prefix, 10))
            with Session(engine) as session:
                check(session.scalars(by_prefix(prefix)).all(), prefix, 10)
                try:
                    with session.begin_nested():
                        session.add(Author(name=f"{prefix} 1"))
                    raise AssertionError("a duplicate name went in")
                except IntegrityError:
                    pass
                assert session.scalar(select(func.count()).select_from(Author).where(Author.name.like(prefix + " %"))) == 10
                session.commit()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    if failures:
        raise failures[0]
    engine.dispose()


async def asynchronous():
    engine = create_async_engine(f"postgresql+asyncpg://{URL}", pool_size=12)
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def work(number):
        prefix = f"asyncpg {number}"
        for _ in range(3):
            async with sessions() as session:
                session.add_all(authors(prefix, 10))
                await session.flush()
                check((await session.scalars(by_prefix(prefix))).all(), prefix, 10)
                await session.rollback()
        async with sessions() as session, session.begin():
            session.add_all(authors(prefix, 10))
        async with sessions() as session:
            check((await session.scalars(by_prefix(prefix))).all(), prefix, 10)
            try:
                await session.execute(text("SELECT 1/0"))
                raise AssertionError("no error")
            except DBAPIError:
                await session.rollback()

    await asyncio.gather(*(work(number) for number in range(12)))
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.drop_all)
    await engine.dispose()


synchronous("psycopg2")
synchronous("psycopg")
asyncio.run(asynchronous())
print("ok")
